//! Images that are regenerated in part.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use burn::tensor::Tensor;
use common::relative_error;
use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use diffusion_models::{InitImage, Pipeline, PipelineError, Settings, Start, Tiling, ignore};
use diffusion_schedulers::kind::SamplerKind;
use fixture::Fixture;

/// Latents go to the source along a straight line, up to rounding.
const TOLERANCE: f64 = 1e-5;

/// Steps of a run enough for samplers with a memory.
const NUM_STEPS: usize = 4;

struct Drawing {
    pipeline: Pipeline,
    settings: Settings,
    source: RgbImage,
}

/// A drawing with the tiny checkpoint of this name, whose source image is a ramp of colours.
fn drawing(name: &'static str) -> Drawing {
    let fixture = Fixture::new(name);
    let pipeline = fixture.pipeline();
    let settings = Settings { num_steps: NUM_STEPS, ..fixture.settings() };
    let (width, height) = (settings.width, settings.height);
    let pixels = (0..3 * width * height).map(|i| (i * 7 % 251) as u8).collect();
    Drawing { pipeline, settings, source: RgbImage { width, height, pixels } }
}

impl Drawing {
    /// Latents and image of a run under a mask, and without any.
    fn draw(&mut self, mask: Option<&Mask>, settings: &Settings) -> (Tensor<4>, RgbImage) {
        let prompt = self.pipeline.encode_prompt("a lighthouse", "fog", settings, &mut ignore).unwrap();
        let init = InitImage { mask: mask.cloned(), ..InitImage::new(self.source.clone(), 0.8) };
        let latents = self.pipeline.encode_init_image(&init, &mut ignore).unwrap();
        let start = Start { init: Some(latents), ..Start::from_seeds(&[3]) };
        let latents = self.pipeline.denoise(&prompt, &start, settings, &mut ignore).unwrap();
        let image = self.pipeline.decode(latents.clone(), Tiling::Whole, &mut ignore).unwrap().remove(0);
        (latents, init.finish(image))
    }

    fn mask(&self, level: impl Fn(usize, usize) -> u8) -> Mask {
        let RgbImage { width, height, .. } = self.source;
        let levels = (0..width * height).map(|at| level(at % width, at / width)).collect();
        Mask { width, height, levels }
    }
}

fn check(name: &'static str, sampler: SamplerKind) {
    let mut drawing = drawing(name);
    let settings = &Settings { sampler, ..drawing.settings.clone() };
    let whole = drawing.draw(None, settings);

    let everywhere = drawing.mask(|_, _| 255);
    let regenerated = drawing.draw(Some(&everywhere), settings);
    assert_eq!(regenerated.0.into_data(), whole.0.into_data(), "{name}, {sampler}: a full mask is image to image");
    assert!(regenerated.1 == whole.1, "{name}, {sampler}");

    let nowhere = drawing.mask(|_, _| 0);
    let (latents, preserved) = drawing.draw(Some(&nowhere), settings);
    let error = relative_error(latents, drawing.pipeline.encode_image(&drawing.source, &mut ignore).unwrap());
    assert!(error <= TOLERANCE, "{name}, {sampler}: latents of the preserved image are {error:.1e} off");
    assert!(preserved == drawing.source, "{name}, {sampler}");

    let middle = drawing.settings.width / 2;
    let right = drawing.mask(|x, _| if x < middle { 0 } else { 255 }).feathered(3);
    let (_, half) = drawing.draw(Some(&right), settings);
    let row = 3 * drawing.settings.width;
    let halves = |image: &RgbImage| {
        let rows = image.pixels.chunks(row).map(|row| row.split_at(3 * middle));
        rows.map(|(left, right)| (left.to_vec(), right.to_vec())).unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let (found, source) = (halves(&half), halves(&drawing.source));
    assert!(found.0 == source.0, "{name}, {sampler}: what is preserved is the source, to the bit");
    assert!(found.1 != source.1, "{name}, {sampler}: what is not preserved is drawn");
}

#[test]
fn masks_preserve_and_regenerate_what_they_say_in_stable_diffusion() {
    check("sd3", SamplerKind::Euler);
    check("sd3", SamplerKind::DpmPp2M);
    check("sd3", SamplerKind::EulerAncestral);
}

#[test]
fn masks_preserve_and_regenerate_what_they_say_in_flux() {
    check("flux-dev", SamplerKind::Euler);
    check("flux-dev", SamplerKind::UniPc);
}

#[test]
fn a_mask_of_another_size_is_refused() {
    let Drawing { pipeline, source, .. } = drawing("sd3");
    let mask = Mask { width: 8, height: 8, levels: vec![255; 64] };
    let init = InitImage { mask: Some(mask), ..InitImage::new(source, 0.5) };
    let error = pipeline.encode_init_image(&init, &mut ignore).unwrap_err();
    assert!(matches!(error, PipelineError::MaskSize { found: (8, 8), .. }), "{error}");
}
