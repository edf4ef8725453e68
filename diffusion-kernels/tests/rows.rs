//! Row-wise chains against f64, for every instruction set of this processor.

mod common;

use common::{error, random};
use diffusion_kernels::{
    Activation, Affine, Cpu, GroupNorm, HeadNorm, PerImage, Rope, Source, activate, activate_and_multiply, add_gated, group_norm,
    layer_norm, normalise_heads, rms_norm, softmax,
};

const LIMIT: f64 = 1e-6;
/// Widths around the edges of vectors, of groups of vectors, and of what a thread takes.
const WIDTHS: [usize; 20] = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 70, 129, 1000, 1536, 40_000];

/// Rows for a width: some that several threads share.
fn rows_for(width: usize) -> usize {
    [70_000 / width, 5][usize::from(width > 64)].min(300)
}

/// Both ways to call a pass give the same numbers, near the exact ones.
fn check(name: &str, input: &[f32], exact: &[f64], pass: impl Fn(Cpu, Source<'_>, &mut [f32])) {
    for cpu in Cpu::available() {
        let mut apart = vec![f32::NAN; exact.len()];
        pass(cpu, Source::From(input), &mut apart);
        let found = error(&apart, exact);
        assert!(found < LIMIT, "{name} {cpu:?}: {found}");
        let mut in_place = input.to_vec();
        pass(cpu, Source::InPlace, &mut in_place);
        assert!(in_place == apart, "{name} {cpu:?} in place");
    }
}

fn mean_and_variance(x: &[f32]) -> (f64, f64) {
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64;
    (mean, x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / x.len() as f64)
}

#[test]
fn layer_norms_follow_their_definition() {
    for width in WIDTHS {
        let rows = rows_for(width);
        // Away from zero, as activations of these models are.
        let x: Vec<f32> = random(rows * width, 1).iter().enumerate().map(|(i, x)| x * 3.0 + (i / width % 5) as f32).collect();
        let per_image = rows.div_ceil(3);
        let images = rows.div_ceil(per_image);
        let (scale, shift) = (random(images * width, 2), random(images * width, 3));
        let exact = |gain: &dyn Fn(usize, usize) -> [f32; 2]| -> Vec<f64> {
            let norm = |(row, x): (usize, &[f32])| -> Vec<f64> {
                let (mean, variance) = mean_and_variance(x);
                let factor = |at: usize| {
                    let [gain, offset] = gain(row, at).map(f64::from);
                    (f64::from(x[at]) - mean) / (variance + 1e-6).sqrt() * gain + offset
                };
                (0..width).map(factor).collect()
            };
            x.chunks(width).enumerate().flat_map(norm).collect()
        };
        let plain = exact(&|_, _| [1.0, 0.0]);
        // A single number is its own mean: there is nothing to compare with.
        if width > 1 {
            check("plain", &x, &plain, |cpu, source, out| layer_norm(cpu, source, width, Affine::None, 1e-6, out));
        }
        let (weight, bias) = (&scale[..width], &shift[..width]);
        check("weight", &x, &exact(&|_, at| [weight[at], bias[at]]), |cpu, source, out| {
            layer_norm(cpu, source, width, Affine::Weight { weight, bias }, 1e-6, out);
        });
        let modulated = exact(&|row, at| [1.0 + scale[row / per_image * width + at], shift[row / per_image * width + at]]);
        check("modulation", &x, &modulated, |cpu, source, out| {
            let (scale, shift) = (PerImage::new(&scale, per_image), PerImage::new(&shift, per_image));
            layer_norm(cpu, source, width, Affine::Modulation { scale, shift }, 1e-6, out);
        });
    }
}

#[test]
fn rms_norms_follow_their_definition() {
    for width in WIDTHS {
        let rows = rows_for(width);
        let (x, weight) = (random(rows * width, 4), random(width, 5));
        let exact: Vec<f64> = x
            .chunks(width)
            .flat_map(|x| {
                let square = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / width as f64;
                (0..width).map(|at| f64::from(x[at]) / (square + 1e-6).sqrt() * f64::from(weight[at])).collect::<Vec<_>>()
            })
            .collect();
        check("rms", &x, &exact, |cpu, source, out| rms_norm(cpu, source, &weight, 1e-6, out));
    }
}

#[test]
fn heads_are_normalised_and_turned() {
    for (dim, heads, len, batch) in [(2, 3, 5, 2), (64, 3, 41, 2), (128, 2, 70, 1), (20, 5, 3, 3), (70, 1, 9, 1), (6, 24, 300, 2)]
    {
        let tokens = batch * len;
        let (x, weight) = (random(tokens * heads * dim, 6), random(dim, 7));
        let angles: Vec<f32> = random(len * dim / 2, 8).iter().map(|x| x * 100.0).collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|x| (x.cos(), x.sin())).unzip();
        let exact = |turned: bool| -> Vec<f64> {
            let mut out = vec![];
            for (index, head) in x.chunks(dim).enumerate() {
                let position = index / heads % len;
                let square = head.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / dim as f64;
                let normed: Vec<f64> =
                    (0..dim).map(|at| f64::from(head[at]) / (square + 1e-5).sqrt() * f64::from(weight[at])).collect();
                for pair in 0..dim / 2 {
                    let (even, odd) = (normed[2 * pair], normed[2 * pair + 1]);
                    let at = position * dim / 2 + pair;
                    let (cos, sin) = if turned { (f64::from(cos[at]), f64::from(sin[at])) } else { (1.0, 0.0) };
                    out.extend([even * cos - odd * sin, even * sin + odd * cos]);
                }
            }
            out
        };
        for cpu in Cpu::available() {
            let norm = HeadNorm { weight: &weight, epsilon: 1e-5 };
            let mut found = x.clone();
            normalise_heads(cpu, norm, Some(Rope { cos: &cos, sin: &sin }), heads, &mut found);
            assert!(error(&found, &exact(true)) < LIMIT, "{cpu:?} {dim}");
            let mut found = x.clone();
            normalise_heads(cpu, norm, None, heads, &mut found);
            assert!(error(&found, &exact(false)) < LIMIT, "{cpu:?} {dim}");
        }
    }
    let weight = random(7, 1);
    for cpu in Cpu::available() {
        let mut odd = random(21, 9);
        normalise_heads(cpu, HeadNorm { weight: &weight, epsilon: 1e-5 }, None, 3, &mut odd);
        assert!(odd.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn gated_residuals_follow_their_definition() {
    for width in WIDTHS {
        let rows = rows_for(width);
        let per_image = rows.div_ceil(2);
        let images = rows.div_ceil(per_image);
        let (base, y, gate) = (random(rows * width, 10), random(rows * width, 11), random(images * width, 12));
        let exact: Vec<f64> = (0..rows * width)
            .map(|at| f64::from(base[at]) + f64::from(y[at]) * f64::from(gate[at / width / per_image * width + at % width]))
            .collect();
        for cpu in Cpu::available() {
            let mut out = base.clone();
            add_gated(cpu, &y, PerImage::new(&gate, per_image), width, &mut out);
            assert!(error(&out, &exact) < LIMIT, "{cpu:?} {width}");
        }
    }
}

fn exact_activation(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        Activation::GeluErf => {
            let z = x / std::f64::consts::SQRT_2;
            let (mut term, mut sum) = (z, z);
            for n in 1..200 {
                term *= -z * z / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            0.5 * x * (1.0 + sum * std::f64::consts::FRAC_2_SQRT_PI)
        }
        Activation::GeluQuick => x / (1.0 + (-1.702 * x).exp()),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
    }
}

const ACTIVATIONS: [Activation; 6] =
    [Activation::None, Activation::GeluTanh, Activation::GeluErf, Activation::GeluQuick, Activation::Silu, Activation::Relu];

#[test]
fn activations_follow_their_definition() {
    for len in (1..=70).chain([40_000, 70_001]) {
        let x: Vec<f32> = random(len, 13).iter().map(|x| x * 6.0).collect();
        let factor = random(len, 14);
        for activation in ACTIVATIONS {
            let exact: Vec<f64> = x.iter().map(|&x| exact_activation(activation, f64::from(x))).collect();
            check("activation", &x, &exact, |cpu, source, out| activate(cpu, activation, source, out));
            let exact: Vec<f64> = exact.iter().zip(&factor).map(|(x, &factor)| x * f64::from(factor)).collect();
            check("gated activation", &x, &exact, |cpu, source, out| {
                activate_and_multiply(cpu, activation, source, &factor, out);
            });
        }
    }
}

#[test]
fn softmax_follows_its_definition() {
    for width in WIDTHS {
        let rows = rows_for(width);
        let mut x: Vec<f32> = random(rows * width, 15).iter().map(|x| x * 40.0 + 100.0).collect();
        // What a mask leaves out.
        x.iter_mut().enumerate().filter(|(i, _)| i % 3 == 1 && i % width > 0).for_each(|(_, x)| *x = f32::NEG_INFINITY);
        let exact: Vec<f64> = x
            .chunks(width)
            .flat_map(|x| {
                let highest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f64> = x.iter().map(|&x| (0.3 * (f64::from(x) - f64::from(highest))).exp()).collect();
                let total: f64 = powers.iter().sum();
                powers.into_iter().map(move |power| power / total)
            })
            .collect();
        check("softmax", &x, &exact, |cpu, source, out| softmax(cpu, source, width, 0.3, out));
    }
    for cpu in Cpu::available() {
        let mut nothing = [f32::NEG_INFINITY; 3];
        softmax(cpu, Source::InPlace, 3, 1.0, &mut nothing);
        assert!(nothing.iter().all(|x| x.is_nan()));
    }
}

#[test]
fn group_norms_follow_their_definition() {
    for (images, channels, groups, pixels) in
        [(1, 4, 2, 1), (2, 32, 32, 9), (1, 6, 3, 70), (3, 64, 32, 17), (1, 8, 2, 40_000), (2, 12, 4, 1000)]
    {
        // A mean that is large beside the deviation.
        let x: Vec<f32> = random(images * channels * pixels, 16).iter().map(|x| x + 50.0).collect();
        let (weight, bias) = (random(channels, 17), random(channels, 18));
        let len = channels / groups * pixels;
        let normed: Vec<f64> = x
            .chunks(len)
            .enumerate()
            .flat_map(|(group, x)| {
                let (mean, variance) = mean_and_variance(x);
                let (weight, bias) = (&weight, &bias);
                x.iter().enumerate().map(move |(at, &x)| {
                    let channel = group % groups * (channels / groups) + at / pixels;
                    (f64::from(x) - mean) / (variance + 1e-6).sqrt() * f64::from(weight[channel]) + f64::from(bias[channel])
                })
            })
            .collect();
        let exact: Vec<f64> = normed.iter().map(|&x| exact_activation(Activation::Silu, x)).collect();
        for cpu in Cpu::available() {
            let norm = group_norm(cpu, GroupNorm { groups, weight: &weight, bias: &bias, epsilon: 1e-6 }, pixels, &x);
            let mut out = vec![f32::NAN; x.len()];
            norm.apply(cpu, Activation::Silu, pixels, Source::From(&x), &mut out);
            let mut in_place = x.clone();
            norm.apply(cpu, Activation::Silu, pixels, Source::InPlace, &mut in_place);
            assert!(in_place == out);
            for (at, exact_normed) in normed.iter().enumerate() {
                let (factor, offset) = (f64::from(norm.factor[at / pixels]), f64::from(norm.offset[at / pixels]));
                let found = f64::from(x[at]) * factor + offset;
                // A factor and an offset in f32 cost the digits that they are above their sum.
                let size = (f64::from(x[at]) * factor).abs() + offset.abs();
                assert!((found - exact_normed).abs() < 1.5e-7 * size, "{cpu:?} {channels} {pixels} {at}: {found}");
                let (found, exact) = (f64::from(out[at]), exact[at]);
                assert!(
                    (found - exact).abs() < 3e-7 * size + 1e-6 * exact.abs(),
                    "{cpu:?} {channels} {pixels} {at}: {found} {exact}"
                );
            }
        }
    }
}

#[test]
fn rows_do_not_depend_on_threads() {
    let (rows, width) = (200, 1536);
    let x = random(rows * width, 19);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(5).build().expect("threads");
    for cpu in Cpu::available() {
        let mut all = vec![0.0; x.len()];
        layer_norm(cpu, Source::From(&x), width, Affine::None, 1e-6, &mut all);
        let mut others = vec![0.0; x.len()];
        pool.install(|| layer_norm(cpu, Source::From(&x), width, Affine::None, 1e-6, &mut others));
        assert!(all == others);
        let mut row = vec![0.0; width];
        layer_norm(cpu, Source::From(&x[77 * width..][..width]), width, Affine::None, 1e-6, &mut row);
        assert!(row == all[77 * width..][..width]);
        let (weight, bias) = (vec![1.0; 8], vec![0.0; 8]);
        let norm = || group_norm(cpu, GroupNorm { groups: 2, weight: &weight, bias: &bias, epsilon: 1e-6 }, rows * width / 8, &x);
        assert_eq!(norm(), pool.install(norm));
    }
}

#[test]
fn nothing_is_left_as_it_is() {
    for cpu in Cpu::available() {
        layer_norm(cpu, Source::InPlace, 4, Affine::None, 1e-6, &mut []);
        rms_norm(cpu, Source::From(&[]), &[1.0; 4], 1e-6, &mut []);
        softmax(cpu, Source::InPlace, 0, 1.0, &mut []);
        activate(cpu, Activation::Silu, Source::InPlace, &mut []);
        activate_and_multiply(cpu, Activation::Silu, Source::InPlace, &[], &mut []);
        normalise_heads(cpu, HeadNorm { weight: &[1.0; 2], epsilon: 1e-6 }, Some(Rope { cos: &[], sin: &[] }), 3, &mut []);
        let norm = group_norm(cpu, GroupNorm { groups: 1, weight: &[1.0], bias: &[0.0], epsilon: 1e-6 }, 5, &[]);
        norm.apply(cpu, Activation::Silu, 5, Source::InPlace, &mut []);
    }
}

mod refusals {
    use super::*;

    #[test]
    #[should_panic(expected = "numbers of the source")]
    fn sources_of_another_length() {
        activate(Cpu::detect(), Activation::Silu, Source::From(&[0.0; 3]), &mut [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "numbers of the scale")]
    fn modulations_for_another_number_of_images() {
        let affine = Affine::Modulation { scale: PerImage::same(&[0.0; 3]), shift: PerImage::same(&[0.0; 4]) };
        layer_norm(Cpu::detect(), Source::InPlace, 4, affine, 1e-6, &mut [0.0; 8]);
    }

    #[test]
    #[should_panic(expected = "positions of")]
    fn rotations_for_another_number_of_tokens() {
        let norm = HeadNorm { weight: &[1.0; 2], epsilon: 1e-6 };
        normalise_heads(Cpu::detect(), norm, Some(Rope { cos: &[1.0; 2], sin: &[0.0; 2] }), 1, &mut [0.0; 6]);
    }

    #[test]
    #[should_panic(expected = "numbers in rows of")]
    fn parts_of_rows() {
        softmax(Cpu::detect(), Source::InPlace, 3, 1.0, &mut [0.0; 8]);
    }
}
