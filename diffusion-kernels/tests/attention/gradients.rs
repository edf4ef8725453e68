//! Gradients against those of the formula in f64.

use diffusion_kernels::{AttentionGradients, Cpu, Products, Tokens, attention, attention_backward};

use crate::case::{BiasOf, Case, Inputs, Layout};
use crate::common::{error, random};
use crate::exact::{operands, probabilities};
use crate::guarded::{Guarded, Side};

/// Of queries, keys and values, `[batch, heads, tokens, head_dim]`.
type Gradients<T> = [Vec<T>; 3];

fn grad_out(inputs: &Inputs) -> Vec<Guarded> {
    let segment = |(i, &len): (usize, &usize)| Guarded::new(&random(inputs.case.extent(len), 50 + i as u64), inputs.side);
    inputs.case.queries.iter().enumerate().map(segment).collect()
}

fn found(cpu: Cpu, inputs: &Inputs, grad_out: &[Guarded]) -> Gradients<f32> {
    let case = &inputs.case;
    let mut out = inputs.places(&case.queries);
    let blank = vec![f32::NAN; case.batch * case.heads * case.query_len()];
    let mut sums = Guarded::new(&blank, inputs.side);
    let mut places = [&case.queries, &case.keys, &case.keys].map(|lens| inputs.places(lens));
    inputs.with(|arguments| {
        attention(cpu, Products::F32, arguments, &mut inputs.places_mut(&mut out, &case.queries), Some(&mut sums));
        let [queries, keys, values] = &mut places;
        let gradients = AttentionGradients {
            queries: &mut inputs.places_mut(queries, &case.queries),
            keys: &mut inputs.places_mut(keys, &case.keys),
            values: &mut inputs.places_mut(values, &case.keys),
        };
        let (out, grad_out) = (inputs.tokens(&out, &case.queries), inputs.tokens(grad_out, &case.queries));
        attention_backward(cpu, arguments, &out, &sums, &grad_out, gradients);
    });
    let [queries, keys, values] = places;
    [inputs.gather(&queries, &case.queries), inputs.gather(&keys, &case.keys), inputs.gather(&values, &case.keys)]
}

/// `out = left · right`, of `[rows, inner]` and `[inner, columns]`.
fn product(left: impl Fn(usize, usize) -> f64, right: &[f64], [rows, inner, columns]: [usize; 3]) -> Vec<f64> {
    let number = |at: usize| (0..inner).map(|k| left(at / columns, k) * right[k * columns + at % columns]).sum();
    (0..rows * columns).map(number).collect()
}

fn exact(inputs: &Inputs, grad_out: &[Guarded]) -> Gradients<f64> {
    let case = &inputs.case;
    let wide = |segments: &[Guarded], lens: &[usize]| operands(&inputs.gather(segments, lens), Products::F32);
    let [queries, grad_out] = [&inputs.queries[..], grad_out].map(|segments| wide(segments, &case.queries));
    let [keys, values] = [&inputs.keys, &inputs.values].map(|segments| wide(segments, &case.keys));
    let (query_len, key_len, dim) = (case.query_len(), case.key_len(), case.head_dim);
    let mut all = [vec![], vec![], vec![]];
    for head in 0..case.batch * case.heads {
        let [queries, grad_out] = [&queries, &grad_out].map(|all| &all[head * query_len * dim..][..query_len * dim]);
        let [keys, values] = [&keys, &values].map(|all| &all[head * key_len * dim..][..key_len * dim]);
        let (weights, _) = probabilities(inputs, [queries, keys], head);
        let of_weight = |i: usize, j: usize| (0..dim).map(|d| grad_out[i * dim + d] * values[j * dim + d]).sum::<f64>();
        let mut scores = vec![];
        for i in 0..query_len {
            let row: Vec<f64> = (0..key_len).map(|j| of_weight(i, j)).collect();
            let weights = &weights[i * key_len..][..key_len];
            let mean: f64 = row.iter().zip(weights).map(|(gradient, weight)| gradient * weight).sum();
            scores.extend(row.iter().zip(weights).map(|(gradient, weight)| f64::from(case.scale) * weight * (gradient - mean)));
        }
        all[0].extend(product(|i, j| scores[i * key_len + j], keys, [query_len, key_len, dim]));
        all[1].extend(product(|j, i| scores[i * key_len + j], queries, [key_len, query_len, dim]));
        all[2].extend(product(|j, i| weights[i * key_len + j], grad_out, [key_len, query_len, dim]));
    }
    all
}

fn check(case: &Case, side: Side) {
    let inputs = Inputs::new(case, side);
    let grad_out = grad_out(&inputs);
    let exact = exact(&inputs, &grad_out);
    for cpu in Cpu::available() {
        let found = found(cpu, &inputs, &grad_out);
        for (name, (found, exact)) in ["queries", "keys", "values"].into_iter().zip(found.iter().zip(&exact)) {
            assert!(found.iter().all(|x| x.is_finite()), "{name} {:?} {case:?}", cpu.instructions());
            // A single key has all of the weight: gradients of scores are zero but for the last bit of what they are made of.
            if exact.iter().map(|x| x * x).sum::<f64>() < 1e-20 * exact.len() as f64 {
                assert!(found.iter().all(|x| x.abs() < 1e-5), "{name} {:?} {case:?}", cpu.instructions());
                continue;
            }
            let error = error(found, exact);
            assert!(error < 2e-6, "{name} {:?} {case:?}: {error:e}", cpu.instructions());
        }
    }
}

#[test]
fn gradients_of_every_short_length_are_exact() {
    for queries in 1..=70 {
        let mut case = Case::new(queries, (queries * 29 + 3) % 70 + 1, [4, 8, 16, 40, 64, 80, 3, 17, 128, 160, 24][queries % 11]);
        case.layout = [Layout::Projection, Layout::Heads, Layout::Wide][queries % 3];
        case.causal = queries % 4 == 1;
        case.bias = [BiasOf::Nothing, BiasOf::All, BiasOf::Heads][queries / 3 % 3];
        case.batch = 1 + queries % 7 / 6;
        let side = if queries % 2 == 0 { Side::After } else { Side::Before };
        for split in [0, 1, queries / 2] {
            if split > 0 && split < queries {
                case.queries = vec![split, queries - split];
            }
            if split > 0 && split < case.key_len() {
                case.keys = vec![case.key_len() - split, split];
            }
            check(&case, side);
        }
    }
}

#[test]
fn gradients_of_lengths_around_blocks_are_exact() {
    let sizes = [[1, 257, 64], [95, 256, 64], [96, 255, 128], [97, 258, 40], [193, 513, 16], [192, 300, 72], [40, 70, 512]];
    for (i, [queries, keys, head_dim]) in sizes.into_iter().enumerate() {
        for causal in [false, true] {
            let mut case = Case::new(queries, keys, head_dim);
            (case.causal, case.heads, case.bias) = (causal, 1 + i % 2, [BiasOf::Nothing, BiasOf::Heads][i % 2]);
            check(&case, Side::After);
        }
    }
}

#[test]
fn hidden_queries_get_no_gradient() {
    let mut case = Case::new(4, 300, 20);
    case.bias = BiasOf::All;
    let mut inputs = Inputs::new(&case, Side::After);
    inputs.bias.as_mut().unwrap()[300..900].fill(f32::NEG_INFINITY);
    let grad_out = grad_out(&inputs);
    for cpu in Cpu::available() {
        let [queries, keys, values] = found(cpu, &inputs, &grad_out);
        for (row, gradient) in queries.chunks(20).enumerate() {
            assert_eq!(row % 4 == 1 || row % 4 == 2, gradient.iter().all(|x| *x == 0.0), "{row}");
        }
        assert!(keys.iter().chain(&values).all(|x| x.is_finite()));
    }
}

#[test]
fn nothing_to_attend_gives_no_gradient() {
    for (queries, keys) in [(5, 0), (0, 5)] {
        let inputs = Inputs::new(&Case::new(queries, keys, 20), Side::After);
        let found = found(Cpu::detect(), &inputs, &grad_out(&inputs));
        assert_eq!(found.each_ref().map(Vec::len), [queries * 40, keys * 40, keys * 40]);
        assert!(found.iter().flatten().all(|x| *x == 0.0));
    }
}

#[test]
fn gradients_do_not_depend_on_threads() {
    let mut case = Case::new(200, 300, 40);
    (case.heads, case.batch) = (3, 2);
    let inputs = Inputs::new(&case, Side::After);
    let grad_out = grad_out(&inputs);
    let by = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| found(Cpu::detect(), &inputs, &grad_out)).map(|all| all.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
    };
    assert_eq!(by(1), by(5));
}

#[test]
#[should_panic(expected = "tokens of keys' gradients, one for each that there is")]
fn gradients_of_another_length_are_refused() {
    let inputs = Inputs::new(&Case::new(3, 3, 4), Side::After);
    let mut places = [3, 2, 3].map(|len| inputs.places(&[len]));
    let [queries, keys, values] = &mut places;
    let zeros = vec![0.0; 24];
    let all = [Tokens { values: &zeros, len: 3, strides: inputs.case.strides(3) }];
    let gradients = AttentionGradients {
        queries: &mut inputs.places_mut(queries, &[3]),
        keys: &mut inputs.places_mut(keys, &[2]),
        values: &mut inputs.places_mut(values, &[3]),
    };
    inputs.with(|arguments| attention_backward(Cpu::detect(), arguments, &all, &[0.0; 6], &all, gradients));
}
