//! Samplers against published implementations and against flows with known solutions.

mod accuracy;
mod flow_loops;
mod preserving_loops;
mod published;
mod statistics;
mod velocity;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use diffusion_core::{Evaluation, Sampler, SamplerRun, Sigmas, VelocityError};

/// The network of diffusers' scheduler tests.
fn model(x: Tensor<4>, timestep: f64) -> Tensor<4> {
    x * (timestep / (timestep + 1.0))
}

fn assert_sum(found: f64, expected: f64, tolerance: f64, case: &str) {
    assert!((found - expected).abs() < tolerance, "{case}: {found}, expected {expected}");
}

/// The deterministic sample of diffusers' scheduler tests: 4 x 3 x 8 x 8 rising numbers, the batch fastest.
fn dummy_sample() -> Tensor<4> {
    dummy(|index| index)
}

/// Their deterministic noise: the same numbers, falling.
fn dummy_noise() -> Tensor<4> {
    dummy(|index| 767 - index)
}

fn dummy(number: impl Fn(usize) -> usize) -> Tensor<4> {
    // Number i of the result is in image i / 192, and there number i % 192 of every fourth number.
    let values: Vec<f32> = (0..768).map(|i| number((i % 192) * 4 + i / 192) as f32 / 768.0).collect();
    Tensor::from_data(TensorData::new(values, [4, 3, 8, 8]), &Device::flex())
}

fn numbers(x: Tensor<4>) -> Vec<f64> {
    x.into_data().try_to_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn sum_abs(x: Tensor<4>) -> f64 {
    numbers(x).iter().map(|x| x.abs()).sum()
}

fn run(sampler: &dyn Sampler, mut velocity: impl FnMut(Tensor<4>, f64) -> Tensor<4>, x: Tensor<4>, sigmas: &Sigmas) -> Tensor<4> {
    run_field(sampler, &mut |at| Ok(velocity(at.latents, at.sigma)), x, sigmas)
}

fn run_field(
    sampler: &dyn Sampler,
    velocity: &mut dyn FnMut(Evaluation) -> Result<Tensor<4>, VelocityError>,
    latents: Tensor<4>,
    sigmas: &Sigmas,
) -> Tensor<4> {
    sampler.sample(SamplerRun { velocity, latents, sigmas, on_step: &mut |_| ControlFlow::Continue(()) }).unwrap()
}

fn sigmas(levels: &[f64]) -> Sigmas {
    Sigmas::new(levels.to_vec()).unwrap()
}
