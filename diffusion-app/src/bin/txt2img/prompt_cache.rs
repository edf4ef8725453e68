//! Encoded prompts that are kept between runs, on the command line.

use std::error::Error;
use std::path::PathBuf;

use diffusion_app::cli::say;
use diffusion_app::devices::Devices;
use diffusion_app::prompt_cache::{open_prompt_cache_on, prompt_folder};
use diffusion_models::{Pipeline, PromptStore, PromptStoreReport};

/// What `txt2img` is told about the cache of encoded prompts.
#[derive(clap::Args, Debug)]
pub(crate) struct PromptCacheOptions {
    /// Folder for encoded prompts: one that was drawn before needs no text encoder. It holds 1 GB at most, and no texts
    /// [default: diffusion/prompts in the user's cache folder].
    #[arg(long, value_name = "DIR")]
    cache_prompts: Option<PathBuf>,
    /// Encode prompts whether they are known or not, and keep nothing.
    #[arg(long, conflicts_with = "cache_prompts")]
    no_cache_prompts: bool,
}

impl PromptCacheOptions {
    /// The encoded prompts of earlier runs. Only a folder that was asked for has to be there to be written.
    pub(crate) fn open(&self, devices: &Devices) -> Result<Option<PromptStore>, Box<dyn Error>> {
        if self.no_cache_prompts {
            return Ok(None);
        }
        if let Some(folder) = &self.cache_prompts {
            return Ok(Some(open_prompt_cache_on(folder, devices)?));
        }
        let opened = prompt_folder().map_err(Box::<dyn Error>::from);
        let opened = opened.and_then(|folder| Ok(open_prompt_cache_on(&folder, devices)?));
        Ok(opened.map_err(|error| warn(&*error)).ok())
    }
}

/// What became of the prompts, in few words.
pub(crate) fn done(pipeline: &Pipeline) -> String {
    let Some((store, &PromptStoreReport { read, missed, .. })) = pipeline.prompt_store() else {
        return "encoded the prompt".to_owned();
    };
    let folder = store.folder().display();
    match (read, missed) {
        (0, _) => "encoded the prompt".to_owned(),
        (_, 0) => format!("the prompt was encoded in an earlier run: read from {folder}"),
        (read, missed) => format!("encoded the prompt, {read} of {} texts read from {folder}", read + missed),
    }
}

/// Say what went wrong with the prompts of earlier runs.
pub(crate) fn warn_of_failures(pipeline: &Pipeline) {
    pipeline.prompt_store().into_iter().flat_map(|(_, report)| &report.warnings).for_each(|error| warn(error));
}

fn warn(error: &dyn Error) {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    say(format_args!("warning: {error}{cause}; this does not change images"));
}
