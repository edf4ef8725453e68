//! Drawing the pictures that were asked for, some at a time.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Tensor;
use diffusion_app::cli::Verbosity;
use diffusion_app::image_file::{read_mask, read_picture};
use diffusion_app::output::{check_writable, write_png};
use diffusion_core::SamplerStep;
use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use diffusion_models::{Family, Pipeline, Prompt, Settings, StartingPicture, StepCache, StepCacheReport};

use crate::arguments::Arguments;
use crate::latents_file;
use crate::preview::Previews;

/// The pictures of a run: every prompt with as many seeds as asked for, counted through.
pub(crate) struct Pictures<'a> {
    arguments: &'a Arguments,
    prompts: Vec<String>,
    count: u64,
}

impl<'a> Pictures<'a> {
    /// All that was asked for.
    pub(crate) fn new(arguments: &'a Arguments) -> Result<Self, Box<dyn Error>> {
        let prompts = arguments.prompts()?;
        if arguments.count == 0 || arguments.batch_size == 0 {
            let option = if arguments.count == 0 { "--count" } else { "--batch-size" };
            return Err(format!("{option} is 0; ask for at least one picture").into());
        }
        let count =
            arguments.count.checked_mul(prompts.len() as u64).ok_or("--count asks for more pictures than can be counted")?;
        if arguments.latents.is_some() && count > 1 {
            let problem =
                "--latents gives the noise of one picture, --count or several prompts ask for more; leave one of them out";
            return Err(problem.into());
        }
        Ok(Self { arguments, prompts, count })
    }

    /// The prompts.
    pub(crate) fn prompts(&self) -> Vec<&str> {
        self.prompts.iter().map(String::as_str).collect()
    }

    /// Whether there is just one picture.
    pub(crate) fn is_single(&self) -> bool {
        self.count == 1
    }

    /// The pictures of each batch, by index.
    pub(crate) fn batches(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let (count, size) = (self.count, self.arguments.batch_size);
        (0..count.div_ceil(size)).map(move |batch| batch * size..((batch + 1) * size).min(count))
    }

    /// Index of a picture's prompt.
    pub(crate) fn prompt_of(&self, picture: u64) -> usize {
        (picture / self.arguments.count) as usize
    }

    /// Seed of a picture.
    pub(crate) fn seed_of(&self, picture: u64) -> u64 {
        self.arguments.seed.wrapping_add(picture)
    }

    /// Seeds of a batch.
    pub(crate) fn seeds_of(&self, batch: Range<u64>) -> Vec<u64> {
        batch.map(|picture| self.seed_of(picture)).collect()
    }

    /// The same path, with a number before the extension where there are several pictures.
    pub(crate) fn path_of(&self, path: &Path, picture: u64) -> PathBuf {
        if self.is_single() {
            return path.to_owned();
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
        path.with_file_name(format!("{stem}-{}{extension}", picture + 1))
    }

    /// Check that every file can be written, before work is spent on what goes into it.
    pub(crate) fn check_writable(&self) -> Result<(), Box<dyn Error>> {
        let Arguments { output, save_latents, .. } = self.arguments;
        for picture in 0..self.count {
            for path in [Some(output), save_latents.as_ref()].into_iter().flatten() {
                check_writable(&self.path_of(path, picture))?;
            }
        }
        Ok(())
    }

    /// Prompt and settings in the form that AUTOMATIC1111's web interface introduced and other programs read.
    fn parameters(&self, settings: &Settings, picture: u64) -> String {
        let Arguments { model, negative_prompt, .. } = self.arguments;
        let model = model.as_deref().and_then(Path::file_stem).map_or_else(|| "mini-sd3".into(), |stem| stem.to_string_lossy());
        let Settings { width, height, num_steps, guidance_scale, sampler, .. } = settings;
        let negative = match negative_prompt.as_str() {
            "" => String::new(),
            negative => format!("\nNegative prompt: {negative}"),
        };
        let skipped = match &settings.skip_layers {
            Some(guidance) => format!(", Skip layers: {:?}, SLG scale: {}", guidance.layers, guidance.scale),
            None => String::new(),
        };
        let (prompt, seed) = (&self.prompts[self.prompt_of(picture)], self.seed_of(picture));
        let loras = self.arguments.loras.describe();
        format!(
            "{prompt}{loras}{negative}\nSteps: {num_steps}, Sampler: {sampler}, CFG scale: {guidance_scale}, Seed: {seed}, Size: {width}x{height}, Model: {model}{skipped}"
        )
    }
}

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
        let source = read_picture(path, width, height)?;
        let mask = arguments.mask.as_deref().map(|path| read_mask(path, width, height)).transpose()?;
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

/// Name of the latents after the last step.
const FINAL: &str = "latents";

/// Draws batches of pictures.
pub(crate) struct Drawing<'a, F: Family> {
    pub(crate) pictures: &'a Pictures<'a>,
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
