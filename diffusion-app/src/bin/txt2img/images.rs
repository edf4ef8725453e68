//! The images that were asked for, counted through.

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use diffusion_app::image_file::{ImageFileError, OutputFormat, check_image_file};
use diffusion_app::infotext::Infotext;
use diffusion_app::output::{OutputKind, check_writable, output_kind, with_suffix};
use diffusion_models::Settings;

use crate::arguments::{Arguments, MAX_IMAGES};
use diffusion_app::cli::display_name;

/// The images of a run: every prompt with as many seeds as asked for, counted through.
pub(crate) struct Images<'a> {
    pub(crate) arguments: &'a Arguments,
    prompts: Vec<String>,
    count: u64,
}

impl<'a> Images<'a> {
    /// All that was asked for.
    pub(crate) fn new(arguments: &'a Arguments) -> Result<Self, Box<dyn Error>> {
        let prompts = arguments.prompts()?;
        let count = arguments.count.saturating_mul(prompts.len() as u64);
        if count > MAX_IMAGES {
            let (of_each, prompts) = (arguments.count, prompts.len());
            let problem =
                format!("{of_each} images of each of {prompts} prompts are more than {MAX_IMAGES}; draw them in several runs");
            return Err(problem.into());
        }
        if arguments.latents.is_some() && count > 1 {
            let problem =
                "--latents gives the noise of one image, --count or several prompts ask for more; leave one of them out";
            return Err(problem.into());
        }
        Ok(Self { arguments, prompts, count })
    }

    /// The prompts.
    pub(crate) fn prompts(&self) -> Vec<&str> {
        self.prompts.iter().map(String::as_str).collect()
    }

    /// How many images the largest batch has.
    pub(crate) fn largest_batch(&self) -> usize {
        usize::try_from(self.count.min(self.arguments.batch_size)).unwrap_or(usize::MAX)
    }

    /// Whether there is just one image.
    pub(crate) fn is_single(&self) -> bool {
        self.count == 1
    }

    /// The images of each batch, by index.
    pub(crate) fn batches(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let (count, size) = (self.count, self.arguments.batch_size);
        (0..count.div_ceil(size)).map(move |batch| batch * size..((batch + 1) * size).min(count))
    }

    /// Index of an image's prompt.
    pub(crate) fn prompt_of(&self, image: u64) -> usize {
        (image / self.arguments.count) as usize
    }

    /// Seed of an image.
    pub(crate) fn seed_of(&self, image: u64) -> u64 {
        self.arguments.seed.wrapping_add(image)
    }

    /// Seeds of a batch.
    pub(crate) fn seeds_of(&self, batch: Range<u64>) -> Vec<u64> {
        batch.map(|image| self.seed_of(image)).collect()
    }

    /// The same path, with a number before the extension where there are several images. What is no file keeps its name.
    pub(crate) fn path_of(&self, path: &Path, image: u64) -> PathBuf {
        if self.is_single() || output_kind(path).is_ok_and(|kind| kind != OutputKind::File) {
            return path.to_owned();
        }
        with_suffix(path, &format!("-{}", image + 1))
    }

    /// Check that every file can be written, before work is spent on what goes into it.
    pub(crate) fn check_writable(&self) -> Result<(), Box<dyn Error>> {
        let Arguments { output, save_latents, .. } = self.arguments;
        OutputFormat::of(output)?;
        for path in [Some(output), save_latents.as_ref()].into_iter().flatten() {
            if !self.is_single() && output_kind(path)? == OutputKind::Pipe {
                return Err(format!(
                    "{} is a pipe, which takes one output, and there are several; give the name of a file",
                    path.display()
                )
                .into());
            }
            (0..self.count).try_for_each(|image| check_writable(&self.path_of(path, image)))?;
        }
        if save_latents.as_ref() == Some(output) && output_kind(output)? == OutputKind::File {
            return Err(format!("--output and --save-latents are both {}; give them two names", output.display()).into());
        }
        Ok(())
    }

    /// Check that the formats have room for images of this size and their settings.
    pub(crate) fn check_room(&self, settings: &Settings) -> Result<(), ImageFileError> {
        let Settings { width, height, .. } = *settings;
        // Those of one prompt differ in the digits of their seed.
        (0..self.count)
            .step_by(self.arguments.count as usize)
            .try_for_each(|image| check_image_file(&self.arguments.output, width, height, &self.parameters(settings, image)))
    }

    /// Prompt and settings in the form that AUTOMATIC1111's web interface introduced and other programs read.
    pub(crate) fn parameters(&self, settings: &Settings, image: u64) -> String {
        let Arguments { model, negative_prompt, .. } = self.arguments;
        let model = model.as_deref().map_or_else(|| "mini-sd3".to_owned(), display_name);
        let skipped = settings
            .skip_layers
            .iter()
            .flat_map(|guidance| [("Skip layers", format!("{:?}", guidance.layers)), ("SLG scale", guidance.scale.to_string())]);
        let infotext = Infotext {
            prompt: format!("{}{}", self.prompts[self.prompt_of(image)], self.arguments.loras.describe()),
            negative_prompt: negative_prompt.clone(),
            steps: Some(settings.num_steps),
            sampler: Some(settings.sampler.to_string()),
            cfg_scale: Some(settings.guidance_scale),
            distilled_cfg_scale: settings.distilled_guidance,
            seed: Some(self.seed_of(image)),
            size: Some((settings.width, settings.height)),
            model: Some(model),
            others: skipped.map(|(key, value)| (key.to_owned(), value)).collect(),
            ..Infotext::default()
        };
        infotext.to_string()
    }
}
