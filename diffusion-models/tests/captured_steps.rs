//! Steps captured as a graph of kernels, on a device that has no graphs: the same pictures, and a reason.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use burn::tensor::Device;
use diffusion_core::Residency;
use diffusion_core::network::NotCaptured;
use diffusion_models::{Denoiser, Pipeline, PipelineOptions, Start, ignore};
use fixture::Fixture;

const FAMILIES: [&str; 2] = ["sd3", "flux-dev"];

/// A pipeline that was asked to capture.
fn capturing(fixture: &Fixture, residency: Residency) -> Pipeline {
    let options = PipelineOptions { captures_steps: true, residency, ..PipelineOptions::new(&Device::flex()) };
    Pipeline::open(&fixture.path(""), &options).unwrap()
}

#[test]
fn pictures_are_the_same_where_no_graph_can_be_captured() {
    for name in FAMILIES {
        let fixture = Fixture::new(name);
        let (settings, start) = (fixture.settings(), Start::from_seeds(&[3]));
        let drawn = |pipeline: &mut Pipeline| {
            let latents = pipeline.denoise(&fixture.prompt(), &start, &settings, &mut ignore).unwrap().into_data();
            (latents, pipeline.denoiser().and_then(Denoiser::why_not_captured))
        };
        let (expected, no_reason) = drawn(&mut fixture.pipeline());
        assert_eq!(no_reason, None, "{name}");
        for (residency, reason) in [(Residency::Resident, NotCaptured::Device), (Residency::Streamed, NotCaptured::Streamed)] {
            let (found, why) = drawn(&mut capturing(&fixture, residency));
            assert!(found == expected, "{name}, {residency:?}");
            assert_eq!(why, Some(reason), "{name}");
        }
    }
}
