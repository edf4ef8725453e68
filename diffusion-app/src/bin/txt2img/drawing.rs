//! Drawing the pictures that were asked for, some at a time.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::Instant;

use burn::tensor::Tensor;
use diffusion_app::cli::Verbosity;
use diffusion_app::image_file::{Stretched, read_image, read_mask, write_png};
use diffusion_core::SamplerStep;
use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use diffusion_models::{Family, Pipeline, Prompt, Settings, StartingPicture, StepCache, StepCacheReport};

use crate::arguments::Arguments;
use crate::images::Images;
use crate::latents_file;
use crate::preview::Previews;

/// What every picture starts from, read before any work is spent.
pub(crate) struct Start {
    /// Noise from a file, in place of the seed's.
    noise: Option<Tensor<4>>,
    /// The picture to start from, and its mask.
    picture: Option<(StartingPicture, RgbImage, Option<Mask>)>,
}

impl Start {
    pub(crate) fn read<F: Family>(
        arguments: &Arguments,
        pipeline: &Pipeline<F>,
        settings: &Settings,
    ) -> Result<Self, Box<dyn Error>> {
        let noise = arguments.latents.as_deref();
        let noise = noise.map(|path| latents_file::read_noise(path, pipeline.latent_shape(settings), pipeline.device()));
        let noise = noise.transpose()?;
        let Settings { width, height, .. } = *settings;
        let Some(path) = &arguments.image else { return Ok(Self { noise, picture: None }) };
        let (source, warning) = read_image(path, width, height)?;
        warn(warning);
        let mask = match &arguments.mask {
            Some(path) => {
                let (mask, warning) = read_mask(path, width, height)?;
                warn(warning);
                Some(mask)
            }
            None => None,
        };
        if let (Some(path), true) = (&arguments.mask, mask.as_ref().is_some_and(Mask::is_empty)) {
            eprintln!("warning: {} is black everywhere, so the picture stays as it is", path.display());
        }
        let start = pipeline.starting_picture(&source, mask.as_ref(), arguments.strength)?;
        let mask = mask.map(|mask| mask.feathered(arguments.mask_feather));
        Ok(Self { noise, picture: Some((start, source, mask)) })
    }

    /// The picture with what was drawn where it was to be repainted.
    fn finish(&self, drawn: RgbImage) -> RgbImage {
        match &self.picture {
            Some((_, source, Some(mask))) => mask.paste(&drawn, source),
            _ => drawn,
        }
    }
}

fn warn(stretched: Option<Stretched>) {
    if let Some(stretched) = stretched {
        eprintln!("warning: {stretched}; --width and --height choose other sides");
    }
}

/// Name of the latents after the last step.
const FINAL: &str = "latents";

/// Draws batches of pictures.
pub(crate) struct Drawing<'a, F: Family> {
    pub(crate) pictures: &'a Images<'a>,
    pub(crate) pipeline: &'a mut Pipeline<F>,
    pub(crate) prompts: &'a [Prompt<F::Conditioning>],
    pub(crate) settings: &'a Settings,
    pub(crate) start: &'a Start,
    pub(crate) previews: Option<&'a Previews<'a>>,
    pub(crate) verbosity: Verbosity,
}

impl<F: Family> Drawing<'_, F> {
    /// Draw some pictures at once, and write them.
    pub(crate) fn draw(&mut self, batch: Range<u64>) -> Result<(), Box<dyn Error>> {
        let Self { pictures, prompts, verbosity, .. } = *self;
        let began = Instant::now();
        let seeds = pictures.seeds_of(batch.clone());
        let of_pictures: Vec<_> = batch.clone().map(|picture| &prompts[pictures.prompt_of(picture)]).collect();
        let prompt = Prompt::batch::<F>(&of_pictures);
        let noise = self.start.noise.clone().unwrap_or_else(|| self.pipeline.noises(&seeds, self.settings));
        let settings = Settings { sampler_seeds: seeds, ..self.settings.clone() };
        let kept = self.denoise(&prompt, noise, &settings, batch.start)?;
        let StepCacheReport { evaluations, reused, largest_change } = self.pipeline.step_cache_report;
        if settings.step_cache != StepCache::Off {
            verbosity.note(format_args!(
                "step cache: {reused} of {evaluations} evaluations reused, the largest change let pass was {largest_change:.3}"
            ));
        }

        for (row, picture) in batch.enumerate() {
            let of_picture = |latents: &Tensor<4>| latents.clone().narrow(0, row, 1);
            if let Some(path) = &pictures.arguments.save_latents {
                let kept = kept.iter().map(|(name, latents)| (name.clone(), of_picture(latents))).collect();
                latents_file::write_latents(&pictures.path_of(path, picture), &kept)?;
            }
            // One by one: decoding takes more memory than drawing.
            let decode = || self.pipeline.decode(of_picture(&kept[FINAL]), settings.tiling);
            let drawn = verbosity.stage("decoding the picture", "decoded the picture", decode)?;
            let output = pictures.path_of(&pictures.arguments.output, picture);
            for drawn in drawn {
                write_png(&output, &self.start.finish(drawn), &pictures.parameters(&settings, picture))?;
            }
            let (seed, seconds) = (pictures.seed_of(picture), began.elapsed().as_secs_f64());
            verbosity.note(format_args!("wrote {} (seed {seed}, {seconds:.1} s)", output.display()));
        }
        Ok(())
    }

    /// The final `latents` of a batch that begins with picture `first`, and those of every step if they are to be kept.
    fn denoise(
        &mut self,
        prompt: &Prompt<F::Conditioning>,
        noise: Tensor<4>,
        settings: &Settings,
        first: u64,
    ) -> Result<BTreeMap<String, Tensor<4>>, Box<dyn Error>> {
        let began = Instant::now();
        let (mut kept, mut failure, mut num_steps) = (BTreeMap::new(), None, 0);
        let bar = self.verbosity.steps("drawing", settings.num_steps);
        let mut on_step = |step: SamplerStep| {
            bar.set_length(step.num_steps as u64);
            num_steps = step.index + 1;
            bar.set_position(num_steps as u64);
            if self.pictures.arguments.save_all_latents {
                kept.insert(format!("latents_{}", step.index + 1), step.latents);
            }
            let path_of = |path: &Path, row: usize| self.pictures.path_of(path, first + row as u64);
            let shown = self.previews.map_or(Ok(()), |previews| previews.after(step.index, step.denoised, path_of, &bar));
            failure = shown.err();
            if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let latents = match &self.start.picture {
            Some((picture, ..)) => self.pipeline.denoise_from(prompt, picture, noise, settings, &mut on_step),
            None => self.pipeline.denoise(prompt, noise, settings, &mut on_step),
        };
        bar.finish_and_clear();
        if let Some(failure) = failure {
            return Err(failure);
        }
        kept.insert(FINAL.to_owned(), latents?);
        self.verbosity.note(format_args!("drew {num_steps} steps in {:.1} s", began.elapsed().as_secs_f64()));
        Ok(kept)
    }
}
