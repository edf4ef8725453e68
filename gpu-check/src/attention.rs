//! Attention against sums in f64, where kernels go wrong: with large scores, long sequences, and lengths that fill no tile.

use std::error::Error;

use burn::tensor::{DType, Tensor, TensorData};
use diffusion_app::cli::PrintError;
use diffusion_core::Precision;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::ops::{Attending, AttentionOptions, attention};
use half::bf16;

use crate::compare::{is_bf16, name, numbers, relative_error_f64, unit};
use crate::table::{Case, Table};
use crate::tested::Tested;

/// Inputs of attention.
#[derive(Clone, Copy)]
struct Inputs {
    heads: usize,
    /// Tokens of the text and of the image, which see each other.
    lens: [usize; 2],
    head_dim: usize,
    /// Standard deviation of queries and keys; that of the scores is its square.
    spread: f32,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Causal,
    /// As T5's: scores are not scaled, and something is added to them.
    Biased,
}

/// Heads of all lengths and sizes of scores.
pub(crate) fn check(tested: &Tested, table: &mut Table) -> Result<(), PrintError> {
    let image = tested.sizes.image_tokens();
    let plain = |heads, lens, head_dim, spread| Inputs { heads, lens, head_dim, spread, kind: Kind::Plain };
    let mut cases = vec![
        Inputs { kind: Kind::Causal, ..plain(4, [0, 77], 64, 1.0) },
        Inputs { kind: Kind::Causal, ..plain(4, [0, 129], 64, 3.0) },
        Inputs { kind: Kind::Biased, ..plain(4, [0, 256], 64, 0.35) },
        Inputs { kind: Kind::Biased, ..plain(4, [0, 31], 64, 1.0) },
        plain(2, [0, 1], 64, 1.0),
        plain(2, [65, 235], 128, 1.0),
    ];
    let (flux, sd3) = (&tested.sizes.flux, &tested.sizes.sd3);
    for spread in [1.0, 3.0, 8.0] {
        cases.push(plain(flux.num_heads, [512, image], flux.head_dim, spread));
        cases.push(plain(sd3.num_heads, [333, image], sd3.head_dim, spread));
    }
    for &precision in &tested.precisions {
        for inputs in &cases {
            // An error of a score is one of its exponential, of that size; scores are as large as their spread.
            let scores = match inputs.kind {
                Kind::Biased => f64::from(inputs.spread).powi(2) * (inputs.head_dim as f64).sqrt() + 1.0,
                _ => f64::from(inputs.spread).powi(2),
            };
            let limit = unit(precision) * (1.0 + scores);
            let case = Case::new("attention", inputs.describe(), name(precision));
            table.compare(case, limit, || inputs.error(tested, precision))?;
        }
    }
    Ok(())
}

impl Inputs {
    fn describe(&self) -> String {
        let Self { heads, lens, head_dim, spread, kind } = self;
        let lens = if lens[0] == 0 { lens[1].to_string() } else { format!("({} + {})", lens[0], lens[1]) };
        let kind = match kind {
            Kind::Plain => "",
            Kind::Causal => ", causal",
            Kind::Biased => ", biased",
        };
        format!("{heads} x {lens} x {head_dim}, spread {spread}{kind}")
    }

    fn scale(&self) -> f64 {
        if self.kind == Kind::Biased { 1.0 } else { (self.head_dim as f64).sqrt().recip() }
    }

    /// The error of the worst query that is looked at.
    fn error(&self, tested: &Tested, precision: Precision) -> Result<f64, Box<dyn Error>> {
        let Self { heads, lens, head_dim, spread, kind } = *self;
        let (len, width) = (lens[0] + lens[1], heads * head_dim);
        let mut random = TorchGenerator::new(1);
        let mut normal = |count: usize, spread: f32| -> Vec<f32> {
            let values = random.normal(count).into_iter().map(|value| value * spread);
            // What the device gets is exactly what the sums in f64 are of.
            values.map(|value| if is_bf16(precision) { bf16::from_f32(value).to_f32() } else { value }).collect()
        };
        let [q, k, v] = [spread, spread, 1.0].map(|spread| normal(len * width, spread));
        let bias = (kind == Kind::Biased).then(|| normal(heads * len * len, 1.0));
        let to = (&tested.device, DType::F32);
        let tokens = |values: &[f32], first: usize, len: usize| {
            let values = values[first * width..][..len * width].to_vec();
            Tensor::<3>::from_data(TensorData::new(values, [1, len, width]), to).cast(precision.compute)
        };
        let segment = |first: usize, len: usize| {
            let [query, key, value] = [&q, &k, &v].map(|values| tokens(values, first, len));
            Attending { query, key, value }
        };
        let bias_of_all = bias
            .as_ref()
            .map(|bias| Tensor::<4>::from_data(TensorData::new(bias.clone(), [1, heads, len, len]), to).cast(precision.compute));
        let options = AttentionOptions {
            scale: (kind == Kind::Biased).then_some(1.0),
            causal: kind == Kind::Causal,
            bias: bias_of_all,
            products: precision.products,
        };
        let attended = if lens[0] == 0 {
            attention([segment(0, len)], heads, &options).to_vec()
        } else {
            attention([segment(0, lens[0]), segment(lens[0], lens[1])], heads, &options).to_vec()
        };
        let found = numbers(Tensor::cat(attended, 1))?;
        let mut worst = 0.0_f64;
        for head in 0..heads {
            let row = |values: &[f32], token: usize| values[token * width + head * head_dim..][..head_dim].to_vec();
            let [keys, values] = [&k, &v].map(|all| (0..len).map(|token| row(all, token)).collect::<Vec<_>>());
            for query in looked_at(len) {
                let visible = if kind == Kind::Causal { query + 1 } else { len };
                let bias = bias.as_ref().map(|bias| &bias[(head * len + query) * len..][..len]);
                let right = self.attend(&row(&q, query), &keys[..visible], &values[..visible], bias);
                worst = worst.max(relative_error_f64(&row(&found, query), &right));
            }
        }
        Ok(worst)
    }

    /// One query, in f64.
    fn attend(&self, q: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], bias: Option<&[f32]>) -> Vec<f64> {
        let score = |(token, key): (usize, &Vec<f32>)| {
            let product: f64 = q.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
            product * self.scale() + bias.map_or(0.0, |bias| bias[token].into())
        };
        let scores: Vec<f64> = keys.iter().enumerate().map(score).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mut attended = vec![0.0; self.head_dim];
        for (weight, value) in weights.iter().zip(values) {
            for (attended, &v) in attended.iter_mut().zip(value) {
                *attended += weight / sum * f64::from(v);
            }
        }
        attended
    }
}

/// Queries at the edges of tiles of every common size, the ends, and one between.
fn looked_at(len: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = [0, 15, 16, 31, 63, 64, 127, 128, len / 2, len.saturating_sub(17), len - 1].into();
    rows.retain(|&row| row < len);
    rows.sort_unstable();
    rows.dedup();
    rows
}
