//! The same in f64, without blocks.

use diffusion_kernels::Products;

use crate::case::{BiasOf, Inputs};
use crate::common::rounded;

/// `[batch, heads, tokens, head_dim]`
pub struct Exact {
    pub out: Vec<f64>,
    pub log_sum_exp: Vec<f64>,
}

/// Probabilities of one head, `[queries, keys]`, and log-sum-exps.
pub fn probabilities(inputs: &Inputs, [queries, keys]: [&[f64]; 2], head: usize) -> (Vec<f64>, Vec<f64>) {
    let case = &inputs.case;
    let (query_len, key_len, dim) = (case.query_len(), case.key_len(), case.head_dim);
    let (mut all, mut sums) = (vec![], vec![]);
    for i in 0..query_len {
        let score = |j: usize| {
            let dot: f64 = (0..dim).map(|d| queries[i * dim + d] * keys[j * dim + d]).sum();
            let bias = inputs.bias.as_ref().map_or(0.0, |bias| match case.bias {
                BiasOf::Heads => bias[(head % case.heads * query_len + i) * key_len + j],
                _ => bias[i * key_len + j],
            });
            if case.causal && j > i { f64::NEG_INFINITY } else { f64::from(case.scale) * dot + f64::from(bias) }
        };
        let scores: Vec<f64> = (0..key_len).map(score).collect();
        let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let above = if highest == f64::NEG_INFINITY { 0.0 } else { highest };
        let powers: Vec<f64> = scores.iter().map(|score| (score - above).exp()).collect();
        let total: f64 = powers.iter().sum();
        all.extend(powers.iter().map(|power| if total == 0.0 { 0.0 } else { power / total }));
        sums.push(highest + total.ln());
    }
    (all, sums)
}

/// As products see them.
pub fn operands(values: &[f32], products: Products) -> Vec<f64> {
    let values = if products == Products::Bf16 { rounded(values) } else { values.to_vec() };
    values.into_iter().map(f64::from).collect()
}

pub fn attend(inputs: &Inputs, products: Products) -> Exact {
    let case = &inputs.case;
    let wide = |values: Vec<f32>| operands(&values, products);
    let queries = wide(inputs.gather(&inputs.queries, &case.queries));
    let [keys, values] = [&inputs.keys, &inputs.values].map(|segments| wide(inputs.gather(segments, &case.keys)));
    let (query_len, key_len, dim) = (case.query_len(), case.key_len(), case.head_dim);
    let mut exact = Exact { out: vec![], log_sum_exp: vec![] };
    for head in 0..case.batch * case.heads {
        let queries = &queries[head * query_len * dim..][..query_len * dim];
        let [keys, values] = [&keys, &values].map(|all| &all[head * key_len * dim..][..key_len * dim]);
        let (weights, sums) = probabilities(inputs, [queries, keys], head);
        for i in 0..query_len {
            let number = |d: usize| (0..key_len).map(|j| weights[i * key_len + j] * values[j * dim + d]).sum::<f64>();
            exact.out.extend((0..dim).map(number));
        }
        exact.log_sum_exp.extend(sums);
    }
    exact
}
