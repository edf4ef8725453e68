//! Drawing the images that were asked for, some at a time.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Range;
use std::time::Instant;

use burn::tensor::Tensor;
use diffusion_app::cli::Verbosity;
use diffusion_app::devices::Devices;
use diffusion_app::image_file::write_image;
use diffusion_app::latents_file::write_latents;
use diffusion_app::output::WriteError;
use diffusion_models::{EncodedPrompt, Event, Pipeline, Settings, StepCache, StepCacheReport};

use crate::images::Images;
use crate::preview::Previews;
use crate::start::ImageStart;

/// Name of the latents after the last step.
const FINAL: &str = "latents";

/// Draws batches of images.
pub(crate) struct Drawing<'a> {
    pub(crate) images: &'a Images<'a>,
    pub(crate) devices: &'a Devices,
    pub(crate) pipeline: &'a mut Pipeline,
    pub(crate) prompts: &'a [EncodedPrompt],
    pub(crate) settings: &'a Settings,
    pub(crate) start: &'a ImageStart,
    pub(crate) previews: Option<&'a Previews<'a>>,
    pub(crate) verbosity: Verbosity,
}

impl Drawing<'_> {
    /// Draw some images at once, and write them.
    pub(crate) fn draw(&mut self, batch: Range<u64>) -> Result<(), Box<dyn Error>> {
        let Self { images, settings, verbosity, .. } = *self;
        let began = Instant::now();
        let latents = self.denoise(&batch)?;
        let StepCacheReport { evaluations, reused, largest_change } = self.pipeline.step_cache_report();
        if settings.step_cache != StepCache::Off {
            verbosity.note(format_args!(
                "step cache: {reused} of {evaluations} evaluations reused, the largest change let pass was {largest_change:.3}"
            ));
        }
        // Whether they can be kept or not, the images are not lost.
        let kept = self.keep(&batch, &latents);

        let mut stage = verbosity.stage("decoding the image", batch.clone().count()).naming(self.devices);
        let drawn = self.pipeline.decode(latents[FINAL].clone(), settings.tiling, &mut |event| stage.show(&event))?;
        stage.finish("decoded the image");
        for (image, drawn) in batch.zip(drawn) {
            let output = images.path_of(&images.arguments.output, image);
            write_image(&output, &self.start.finish(drawn), &images.parameters(settings, image))?;
            let (seed, seconds) = (images.seed_of(image), began.elapsed().as_secs_f64());
            verbosity.note(format_args!("wrote {} (seed {seed}, {seconds:.1} s)", output.display()));
        }
        Ok(kept?)
    }

    /// Write the latents of a batch, if they are to be kept.
    fn keep(&self, batch: &Range<u64>, latents: &BTreeMap<String, Tensor<4>>) -> Result<(), WriteError> {
        let Some(path) = &self.images.arguments.save_latents else { return Ok(()) };
        for (row, image) in batch.clone().enumerate() {
            let of_image = latents.iter().map(|(name, latents)| (name.clone(), latents.clone().narrow(0, row, 1)));
            write_latents(&self.images.path_of(path, image), &of_image.collect())?;
        }
        Ok(())
    }

    /// The final `latents` of a batch, and those of every step if they are to be kept.
    fn denoise(&mut self, batch: &Range<u64>) -> Result<BTreeMap<String, Tensor<4>>, Box<dyn Error>> {
        let Self { images, prompts, settings, previews, .. } = *self;
        let of_images: Vec<_> = batch.clone().map(|image| &prompts[images.prompt_of(image)]).collect();
        let (prompt, start) = (EncodedPrompt::batch(&of_images), self.start.of(&images.seeds_of(batch.clone())));
        let (mut kept, mut num_steps) = (BTreeMap::new(), 0);
        let mut stage = self.verbosity.stage("drawing", settings.num_steps).naming(self.devices);
        let mut observer = |event: Event| {
            let flow = stage.show(&event);
            let Event::Step(step) = event else { return flow };
            num_steps = step.index + 1;
            if images.arguments.save_all_latents {
                kept.insert(format!("latents_{num_steps}"), step.latents);
            }
            if let Some(previews) = previews {
                previews.after(num_steps, step.denoised, |path, row| images.path_of(path, batch.start + row), &stage);
            }
            flow
        };
        let latents = self.pipeline.denoise(&prompt, &start, settings, &mut observer);
        kept.insert(FINAL.to_owned(), latents?);
        stage.finish(format_args!("drew {num_steps} steps"));
        Ok(kept)
    }
}
