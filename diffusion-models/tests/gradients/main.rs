//! Gradients of low-rank factors through whole transformers, whatever their files keep the frozen matrices in.

mod allocations;
#[path = "../common/mod.rs"]
mod common;
mod dense;
mod tiny;

use std::collections::BTreeMap;

use burn::tensor::{Device, Gradients, Tensor};
use common::assert_close;
use diffusion_core::format::Format;
use diffusion_core::weights::{LowRankFactors, with_factors};
use diffusion_models::flux::FluxTransformer;
use diffusion_models::sd3::Sd3Transformer;
use tiny::{Files, Layout, Tiny};

/// In f32, `x A B` and `x (W + A B)` are rounded in different places.
const TOLERANCE: f64 = 1e-5;

/// Every kind of matrix: plain, packed in bytes, packed in blocks; of its own in the file, and fused with others.
const KINDS: [(Format, Layout); 7] = [
    (Format::F32, Layout::Diffusers),
    (Format::BF16, Layout::Diffusers),
    (Format::F8E4M3, Layout::Diffusers),
    (Format::F32, Layout::Original),
    (Format::BF16, Layout::Original),
    (Format::F8E4M3, Layout::Original),
    (Format::Q4_0, Layout::Original),
];

/// Gradients of both factors of every matrix that has some.
fn gradients(factors: &BTreeMap<String, LowRankFactors>, gradients: &Gradients) -> BTreeMap<String, Tensor<2>> {
    let both = |(path, factors): (&String, &LowRankFactors)| {
        [("down", &factors.down), ("up", &factors.up)].map(|(name, factor)| {
            let gradient = factor.val().grad(gradients).unwrap_or_else(|| panic!("no gradient of {path} {name}"));
            (format!("{path} {name}"), gradient)
        })
    };
    factors.iter().flat_map(both).collect()
}

fn compare<M: Tiny>(device: &Device) {
    let _alone = allocations::alone();
    for (format, layout) in KINDS {
        let files = Files::write::<M>(format, layout);
        let factors = tiny::factors::<M>(device);
        let dense = dense::with_products(M::load(&files.widened, device), &factors);
        let network = with_factors(M::load(&files.stored, device), factors.clone()).unwrap();

        // Each image of a batch is modulated by itself.
        let (expected, found) = (tiny::output(&dense, 2, device), tiny::output(&network, 2, device));
        assert_close(&format!("{format} {layout:?} output"), found.clone().inner(), expected.clone().inner(), TOLERANCE);
        let expected = gradients(&factors, &tiny::loss(expected).backward());
        let found = gradients(&factors, &tiny::loss(found).backward());
        for (name, found) in found {
            assert_close(&format!("{format} {layout:?} {name}"), found, expected[&name].clone(), TOLERANCE);
        }
    }
}

#[test]
fn gradients_through_sd3_are_those_of_a_dense_network() {
    compare::<Sd3Transformer>(&Device::flex().autodiff());
}

#[test]
fn gradients_through_flux_are_those_of_a_dense_network() {
    compare::<FluxTransformer>(&Device::flex().autodiff());
}

#[test]
fn gradients_are_the_same_where_burn_recomputes_activations() {
    compare::<Sd3Transformer>(&Device::flex().autodiff().gradient_checkpointing());
    compare::<FluxTransformer>(&Device::flex().autodiff().gradient_checkpointing());
}

/// What the forward pass keeps for the backward pass, and the most that there is while that runs.
fn memory<M: Tiny>(format: Format, layout: Layout) -> [usize; 2] {
    let device = Device::flex().autodiff();
    let files = Files::write::<M>(format, layout);
    let network = with_factors(M::load(&files.stored, &device), tiny::factors::<M>(&device)).unwrap();
    // What is made once, like the threads of the processor's cores, is there then.
    tiny::loss(tiny::output(&network, 1, &device)).backward();

    let before = allocations::alive();
    let loss = tiny::loss(tiny::output(&network, 1, &device));
    let kept = allocations::alive().saturating_sub(before);
    allocations::forget_peak();
    let gradients = loss.backward();
    let peak = allocations::peak().saturating_sub(before);
    drop((loss, gradients));
    [kept, peak]
}

fn keeps_no_weights<M: Tiny>() {
    let _alone = allocations::alone();
    let (all, largest) = tiny::widened_bytes::<M>();
    // With an ordinary product, every kind but f32 kept 4.5 MB more: all widened matrices. In f32 they are the mapped file.
    let [activations, _] = memory::<M>(Format::F32, Layout::Diffusers);
    assert!(activations < all / 4);
    for (format, layout) in KINDS {
        let [kept, peak] = memory::<M>(format, layout);
        println!(
            "{format} {layout:?}: {kept} bytes kept, {peak} at most, {activations} of activations, {all} of widened weights"
        );
        assert!(kept < activations + all / 50, "{format} {layout:?}");
        assert!(peak < activations + 2 * largest, "{format} {layout:?}");
    }
}

#[test]
fn sd3_keeps_nothing_of_the_size_of_its_weights() {
    keeps_no_weights::<Sd3Transformer>();
}

#[test]
fn flux_keeps_nothing_of_the_size_of_its_weights() {
    keeps_no_weights::<FluxTransformer>();
}
