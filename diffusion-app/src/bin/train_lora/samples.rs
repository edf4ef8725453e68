//! Pictures that show what was learnt so far.

use std::error::Error;
use std::path::{Path, PathBuf};

use diffusion_app::image_file::write_image;
use diffusion_app::training::Bucket;
use diffusion_models::{EncodedPrompt, Pipeline, PipelineError, PromptEncoder, Settings, Start, ignore};

use crate::arguments::SampleOptions;

/// Where sample pictures go.
fn folder(output: &Path) -> PathBuf {
    let stem = output.file_stem().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!("{stem}-samples"))
}

/// A sample picture of a step.
fn picture(folder: &Path, step: usize, index: usize) -> PathBuf {
    folder.join(format!("{step:06}-{}.png", index + 1))
}

/// Whether all sample pictures of a step are there.
pub(crate) fn are_drawn(output: &Path, options: &SampleOptions, step: usize) -> bool {
    (0..options.sample_prompt.len()).all(|index| picture(&folder(output), step, index).exists())
}

/// Draws sample pictures, by the same pipeline that draws with the finished LoRA.
pub(crate) struct Samples {
    prompts: Vec<(String, EncodedPrompt)>,
    settings: Settings,
    seed: u64,
    every: usize,
    folder: PathBuf,
}

impl Samples {
    /// Encode the prompts, for pictures of the size that is learnt, if it is known; nothing if there are no prompts.
    pub(crate) fn new(
        options: &SampleOptions,
        size: Option<Bucket>,
        output: &Path,
        pipeline: &mut Pipeline,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        let prompts = &options.sample_prompt;
        if prompts.is_empty() {
            return Ok(None);
        }
        let mut settings = pipeline.default_settings();
        if let Some(steps) = options.sample_steps {
            settings.num_steps = steps;
        }
        if let Some(Bucket { width, height }) = size {
            (settings.width, settings.height) = (width, height);
        }
        pipeline.check(&settings)?;
        let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let encoded = pipeline.encode_prompts(&texts, "", &settings, &mut ignore)?;
        let folder = folder(output);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let prompts = prompts.iter().cloned().zip(encoded).collect();
        Ok(Some(Self { prompts, settings, seed: options.sample_seed, every: options.sample_every, folder }))
    }

    /// Whether pictures are drawn after a step.
    pub(crate) fn are_due(&self, step: usize, last: usize) -> bool {
        step.is_multiple_of(self.every) || step == last
    }

    /// Draw them, with text encoders as they are now, if they are trained; the folder.
    pub(crate) fn draw(
        &self,
        pipeline: &mut Pipeline,
        text_encoders: Option<&dyn PromptEncoder>,
        step: usize,
    ) -> Result<&Path, Box<dyn Error>> {
        for (index, (prompt, encoded)) in self.prompts.iter().enumerate() {
            let seed = self.seed.wrapping_add(index as u64);
            let encoded_again = text_encoders.map(|encoders| encoded_again(encoders, prompt, encoded)).transpose()?;
            let encoded = encoded_again.as_ref().unwrap_or(encoded);
            let latents = pipeline.denoise(encoded, &Start::from_seeds(&[seed]), &self.settings, &mut ignore)?;
            let images = pipeline.decode(latents, self.settings.tiling, &mut ignore)?;
            let path = picture(&self.folder, step, index);
            let parameters = format!("{prompt}\nSeed: {seed}, Steps: {}, training step: {step}", self.settings.num_steps);
            for image in &images {
                write_image(&path, image, &parameters)?;
            }
        }
        Ok(&self.folder)
    }
}

/// A prompt and the empty negative one.
fn encoded_again(encoders: &dyn PromptEncoder, prompt: &str, known: &EncodedPrompt) -> Result<EncodedPrompt, PipelineError> {
    let negative = known.negative.as_ref().map(|known| encoders.encode_again("", known)).transpose()?;
    Ok(EncodedPrompt { positive: encoders.encode_again(prompt, &known.positive)?, negative, truncated: known.truncated.clone() })
}
