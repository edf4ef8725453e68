//! Gradients of row-wise chains against differences of the chains in f64, for every instruction set of this processor.

mod common;

use common::{error, random};
use diffusion_kernels::{
    Activation, Cpu, HeadNorm, PerImage, Rope, activate_backward, gate_rows, layer_norm_backward, normalise_heads_backward,
};

/// Differences of f64 are exact to about 1e-9; what remains is f32.
const LIMIT: f64 = 3e-6;

/// The gradient of `Σ weights · chain(x)` by central differences, row by row.
fn differences(x: &[f32], width: usize, weights: &[f32], chain: impl Fn(usize, &[f64]) -> Vec<f64>) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut gradient = Vec::with_capacity(x.len());
    for (row, (x, weights)) in x.chunks(width).zip(weights.chunks(width)).enumerate() {
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let value = |x: &[f64]| -> f64 { chain(row, x).iter().zip(weights).map(|(y, &weight)| y * f64::from(weight)).sum() };
        for at in 0..width {
            let moved = |by: f64| {
                let mut x = x.clone();
                x[at] += by;
                value(&x)
            };
            gradient.push((moved(STEP) - moved(-STEP)) / (2.0 * STEP));
        }
    }
    gradient
}

fn check(name: &str, exact: &[f64], pass: impl Fn(Cpu, &mut [f32])) {
    for cpu in Cpu::available() {
        let mut out = vec![f32::NAN; exact.len()];
        pass(cpu, &mut out);
        let found = error(&out, exact);
        assert!(found < LIMIT, "{name} {cpu:?}: {found}");
    }
}

const WIDTHS: [usize; 8] = [2, 3, 7, 16, 17, 33, 64, 129];

#[test]
fn layer_norms() {
    // Two numbers are always one standard deviation from their mean: there is no gradient to compare with.
    for width in WIDTHS.into_iter().filter(|&width| width > 2) {
        let (rows, per_image) = (5, 2);
        let (x, weights) = (random(rows * width, 1), random(rows * width, 2));
        let scale = random(3 * width, 3);
        let exact = differences(&x, width, &weights, |row, x| {
            let mean = x.iter().sum::<f64>() / width as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let of_row = &scale[row / per_image * width..][..width];
            x.iter().zip(of_row).map(|(x, &s)| (x - mean) / (variance + 1e-6).sqrt() * (1.0 + f64::from(s))).collect()
        });
        check(&format!("layer norm of {width}"), &exact, |cpu, out| {
            layer_norm_backward(cpu, &x, width, PerImage::new(&scale, per_image), 1e-6, &weights, out);
        });
    }
}

#[test]
fn heads() {
    for dim in [2, 6, 16, 34, 64] {
        let (heads, len, batch) = (3, 4, 2);
        let count = batch * len * heads * dim;
        let (x, weights, weight) = (random(count, 4), random(count, 5), random(dim, 6));
        let angles = random(len * dim / 2, 7);
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|angle| (angle.cos(), angle.sin())).unzip();
        for turned in [false, true] {
            let exact = differences(&x, dim, &weights, |row, x| {
                let factor = (x.iter().map(|x| x * x).sum::<f64>() / dim as f64 + 1e-6).sqrt().recip();
                let normed: Vec<f64> = x.iter().zip(&weight).map(|(x, &w)| x * factor * f64::from(w)).collect();
                if !turned {
                    return normed;
                }
                let token = row / heads % len;
                let turn = |pair: usize| {
                    let at = token * dim / 2 + pair;
                    let (c, s) = (f64::from(cos[at]), f64::from(sin[at]));
                    let (a, b) = (normed[2 * pair], normed[2 * pair + 1]);
                    [a * c - b * s, b * c + a * s]
                };
                (0..dim / 2).flat_map(turn).collect()
            });
            let rope = turned.then_some(Rope { cos: &cos, sin: &sin });
            check(&format!("heads of {dim}, turned {turned}"), &exact, |cpu, out| {
                let norm = HeadNorm { weight: &weight, epsilon: 1e-6 };
                normalise_heads_backward(cpu, norm, rope, heads, &x, &weights, out);
            });
        }
    }
}

/// An activation, and what it computes.
type Case = (Activation, fn(f64) -> f64);

#[test]
fn activations() {
    let x: Vec<f32> = (-1200..1203).map(|step| step as f32 / 100.0 + 0.003).collect();
    let weights = random(x.len(), 8);
    let cases: [Case; 5] = [
        (Activation::None, |x| x),
        (Activation::Relu, |x| x.max(0.0)),
        (Activation::Silu, |x| x / (1.0 + (-x).exp())),
        (Activation::GeluQuick, |x| x / (1.0 + (-1.702 * x).exp())),
        (Activation::GeluTanh, |x| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())),
    ];
    for (activation, exact) in cases {
        let exact = differences(&x, 1, &weights, |_, x| vec![exact(x[0])]);
        check(&format!("{activation:?}"), &exact, |cpu, out| activate_backward(cpu, activation, &x, &weights, out));
    }
    // Its derivative in closed form, from the density and an integral of it.
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let share = |x: f64| {
        const PARTS: usize = 4000;
        let step = (x + 13.0) / PARTS as f64;
        (0..PARTS).map(|part| density(-13.0 + (part as f64 + 0.5) * step) * step).sum::<f64>()
    };
    let exact: Vec<f64> = x
        .iter()
        .zip(&weights)
        .map(|(&x, &weight)| f64::from(weight) * (share(f64::from(x)) + f64::from(x) * density(f64::from(x))))
        .collect();
    check("GeluErf", &exact, |cpu, out| activate_backward(cpu, Activation::GeluErf, &x, &weights, out));
}

#[test]
fn gates() {
    for width in WIDTHS {
        let (x, gate) = (random(5 * width, 9), random(3 * width, 10));
        let exact: Vec<f64> =
            (0..5 * width).map(|at| f64::from(x[at]) * f64::from(gate[at / width / 2 * width + at % width])).collect();
        check("gate", &exact, |cpu, out| gate_rows(cpu, &x, PerImage::new(&gate, 2), width, out));
    }
}
