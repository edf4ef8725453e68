//! Pictures that are drawn anew in part.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use common::relative_error;
use diffusion_core::Precision;
use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use diffusion_models::flux::Flux;
use diffusion_models::sd3::Sd3;
use diffusion_models::{Family, ModelParts, Pipeline, PipelineError, Settings, Tiling};
use diffusion_schedulers::kind::SamplerKind;
use fixture::Fixture;

/// Latents go to the source along a straight line, up to rounding.
const TOLERANCE: f64 = 1e-5;

/// Steps of a run enough for samplers with a memory.
const NUM_STEPS: usize = 4;

struct Drawing<F: Family> {
    pipeline: Pipeline<F>,
    settings: Settings,
    source: RgbImage,
    noise: Tensor<4>,
}

/// A drawing with the tiny checkpoint of this name, whose source picture is a ramp of colours.
fn drawing<F: Family>(name: &'static str) -> Drawing<F> {
    let fixture = Fixture::new(name);
    let parts = ModelParts::default();
    let pipeline = Pipeline::<F>::open(&fixture.path(""), &parts, Precision::f32(), &Device::flex()).unwrap();
    let settings = Settings { num_steps: NUM_STEPS, ..fixture.settings() };
    let (width, height) = (settings.width, settings.height);
    let pixels = (0..3 * width * height).map(|i| (i * 7 % 251) as u8).collect();
    let noise = pipeline.noise(3, &settings);
    Drawing { pipeline, settings, source: RgbImage { width, height, pixels }, noise }
}

impl<F: Family> Drawing<F> {
    /// Latents and picture of a run under a mask, and without any.
    fn draw(&mut self, mask: Option<&Mask>, settings: &Settings) -> (Tensor<4>, RgbImage) {
        let prompt = self.pipeline.encode_prompt("a lighthouse", "fog", settings).unwrap();
        let start = self.pipeline.starting_picture(&self.source, mask, 0.8).unwrap();
        let mut go_on = |_| ControlFlow::Continue(());
        let latents = self.pipeline.denoise_from(&prompt, &start, self.noise.clone(), settings, &mut go_on).unwrap();
        let picture = self.pipeline.decode(latents.clone(), Tiling::Whole).unwrap().remove(0);
        let picture = mask.map_or_else(|| picture.clone(), |mask| mask.paste(&picture, &self.source));
        (latents, picture)
    }

    fn mask(&self, level: impl Fn(usize, usize) -> u8) -> Mask {
        let RgbImage { width, height, .. } = self.source;
        let levels = (0..width * height).map(|at| level(at % width, at / width)).collect();
        Mask { width, height, levels }
    }
}

fn check<F: Family>(name: &'static str, sampler: SamplerKind) {
    let mut drawing = drawing::<F>(name);
    let settings = &Settings { sampler, ..drawing.settings.clone() };
    let whole = drawing.draw(None, settings);

    let everywhere = drawing.mask(|_, _| 255);
    let repainted = drawing.draw(Some(&everywhere), settings);
    assert_eq!(repainted.0.into_data(), whole.0.into_data(), "{name}, {sampler}: a full mask is image to image");
    assert!(repainted.1 == whole.1, "{name}, {sampler}");

    let nowhere = drawing.mask(|_, _| 0);
    let (latents, kept) = drawing.draw(Some(&nowhere), settings);
    let error = relative_error(latents, drawing.pipeline.encode_image(&drawing.source).unwrap());
    assert!(error <= TOLERANCE, "{name}, {sampler}: latents of the kept picture are {error:.1e} off");
    assert!(kept == drawing.source, "{name}, {sampler}");

    let middle = drawing.settings.width / 2;
    let right = drawing.mask(|x, _| if x < middle { 0 } else { 255 }).feathered(3);
    let (_, half) = drawing.draw(Some(&right), settings);
    let row = 3 * drawing.settings.width;
    let halves = |picture: &RgbImage| {
        let rows = picture.pixels.chunks(row).map(|row| row.split_at(3 * middle));
        rows.map(|(left, right)| (left.to_vec(), right.to_vec())).unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let (found, source) = (halves(&half), halves(&drawing.source));
    assert!(found.0 == source.0, "{name}, {sampler}: what is kept is the source, to the bit");
    assert!(found.1 != source.1, "{name}, {sampler}: what is not kept is drawn");
}

#[test]
fn masks_keep_and_repaint_what_they_say_in_stable_diffusion() {
    check::<Sd3>("sd3", SamplerKind::Euler);
    check::<Sd3>("sd3", SamplerKind::DpmPp2M);
    check::<Sd3>("sd3", SamplerKind::EulerAncestral);
}

#[test]
fn masks_keep_and_repaint_what_they_say_in_flux() {
    check::<Flux>("flux-dev", SamplerKind::Euler);
    check::<Flux>("flux-dev", SamplerKind::UniPc);
}

#[test]
fn a_mask_of_another_size_is_refused() {
    let Drawing { pipeline, source, .. } = drawing::<Sd3>("sd3");
    let mask = Mask { width: 8, height: 8, levels: vec![255; 64] };
    let error = pipeline.starting_picture(&source, Some(&mask), 0.5).unwrap_err();
    assert!(matches!(error, PipelineError::MaskSize { found: (8, 8), .. }), "{error}");
}
