//! Rates of row-wise chains in GB/s read and written, beside a copy of the same numbers in the same run.
//!
//! ```text
//! cargo bench -p diffusion-kernels --bench rows [-- PART_OF_A_NAME] [-- --avx2]
//! ```

mod common;

use common::{arguments, medians};
use diffusion_kernels::{
    Activation, Affine, Cpu, GroupNorm, HeadNorm, PerImage, Rope, Source, activate, activate_and_multiply, add_gated, group_norm,
    layer_norm, normalise_heads, rms_norm, softmax,
};
use rayon::prelude::*;

const RUNS: usize = 15;
/// Tokens and widths: Stable Diffusion 3.5 Medium and FLUX.1 at 512 x 512.
const SIZES: [[usize; 2]; 2] = [[1357, 1536], [1536, 3072]];

/// A chain over `x` and `y`, and how often it passes over numbers of their size.
type Chain<'a> = (&'static str, f64, Box<dyn Fn(&mut [f32], &mut [f32]) + 'a>);

fn main() {
    let (filter, cpu) = arguments();
    for [tokens, width] in SIZES {
        println!("{tokens} x {width}:");
        let vector: Vec<f32> = (0..width).map(|i| (i % 7) as f32 * 0.1 - 0.3).collect();
        let turns = vec![0.7; tokens * 64];
        let chains: Vec<Chain<'_>> = chains(cpu, width, &vector, &turns)
            .into_iter()
            .filter(|(name, ..)| *name == "copy" || name.contains(&filter))
            .collect();
        let mut x: Vec<f32> = (0..tokens * width).map(|i| (i % 997) as f32 / 500.0 - 1.0).collect();
        let mut y = x.clone();
        let times = medians(RUNS, chains.len(), |way| chains[way].2(&mut x, &mut y));
        for ((name, passes, _), seconds) in chains.iter().zip(&times) {
            let rate = |seconds: f64| passes * (tokens * width * size_of::<f32>()) as f64 * 1e-9 / seconds;
            let ratio = rate(seconds.busy) / (2.0 * (tokens * width * size_of::<f32>()) as f64 * 1e-9 / times[0].busy);
            println!(
                "    {name:28} {:6.1} GB/s, by processor time {:6.1} ({ratio:.2} of a copy)",
                rate(seconds.clock),
                rate(seconds.busy)
            );
        }
    }
}

fn chains<'a>(cpu: Cpu, width: usize, vector: &'a [f32], turns: &'a [f32]) -> Vec<Chain<'a>> {
    let same = PerImage::same(vector);
    let modulation = Affine::Modulation { scale: same, shift: same };
    let (half, heads) = (&vector[..128], width / 128);
    vec![
        (
            "copy",
            2.0,
            Box::new(|x, y| {
                y.par_chunks_mut(1 << 15).zip(x.par_chunks(1 << 15)).for_each(|(y, x)| y.copy_from_slice(x));
            }),
        ),
        ("layer norm, modulated", 2.0, Box::new(move |x, y| layer_norm(cpu, Source::From(x), width, modulation, 1e-6, y))),
        ("rms norm", 2.0, Box::new(move |x, y| rms_norm(cpu, Source::From(x), vector, 1e-6, y))),
        (
            "heads: rms norm and rope",
            2.0,
            Box::new(move |_, y| {
                let rope = Rope { cos: turns, sin: turns };
                normalise_heads(cpu, HeadNorm { weight: half, epsilon: 1e-6 }, Some(rope), heads, y);
            }),
        ),
        ("gated residual", 3.0, Box::new(move |x, y| add_gated(cpu, x, same, width, y))),
        ("GELU tanh in place", 2.0, Box::new(move |_, y| activate(cpu, Activation::GeluTanh, Source::InPlace, y))),
        ("GELU erf in place", 2.0, Box::new(move |_, y| activate(cpu, Activation::GeluErf, Source::InPlace, y))),
        ("SiLU in place", 2.0, Box::new(move |_, y| activate(cpu, Activation::Silu, Source::InPlace, y))),
        (
            "GELU times another",
            3.0,
            Box::new(move |x, y| activate_and_multiply(cpu, Activation::GeluTanh, Source::InPlace, x, y)),
        ),
        ("softmax in place", 2.0, Box::new(move |_, y| softmax(cpu, Source::InPlace, width, 1.0, y))),
        (
            "group norm and SiLU",
            3.0,
            Box::new(move |x, y| {
                let norm = GroupNorm { groups: 32, weight: &vector[..256], bias: &vector[..256], epsilon: 1e-6 };
                let pixels = x.len() / 256;
                group_norm(cpu, norm, pixels, &x[..256 * pixels]).apply(
                    cpu,
                    Activation::Silu,
                    pixels,
                    Source::From(&x[..256 * pixels]),
                    &mut y[..256 * pixels],
                );
            }),
        ),
    ]
}
