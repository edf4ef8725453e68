//! Where PEFT's settings of a file are, and what is said about settings that are not used.

use std::path::Path;

use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::files::{Shown, read_text};

use crate::dialects::{Dialect, ModuleName};
use crate::error::LoraError;
use crate::lora_folder;
use crate::peft_settings::PeftSettings;

/// Key of the header under which diffusers writes PEFT's configuration.
const HEADER_KEY: &str = "lora_adapter_metadata";
/// PEFT's own file beside the tensors.
const CONFIG_FILE: &str = "adapter_config.json";
/// What PEFT calls the tensors beside it.
const PEFT_FILE: &str = "adapter_model.safetensors";
/// Entries of headers that tell an alpha which no program reads there.
const FLAT_ALPHAS: [&str; 3] = ["lora_alpha", "network_alpha", "ss_network_alpha"];

/// PEFT's settings of a file, and sentences about where they come from, or why they are not used.
#[derive(Debug, Default)]
pub(crate) struct FoundSettings {
    pub(crate) settings: Option<PeftSettings>,
    pub(crate) notes: Vec<String>,
}

/// Find the settings of a file whose modules are `names`; `lack_alpha` if the tensors do not tell the alpha of all of them.
///
/// # Errors
/// [`LoraError::Metadata`] if they cannot be read.
pub(crate) fn find(checkpoint: &Checkpoint, names: &[ModuleName], lack_alpha: bool) -> Result<FoundSettings, LoraError> {
    let path = checkpoint.path();
    let failed = |reason: String| LoraError::Metadata { path: path.to_owned(), reason };
    if let Some(text) = checkpoint.metadata(HEADER_KEY) {
        let settings = PeftSettings::parse(text).map_err(|reason| failed(format!("{HEADER_KEY} in its header: {reason}")))?;
        return Ok(FoundSettings { settings: Some(settings), notes: Vec::new() });
    }
    let mut notes = Vec::new();
    let config = path.with_file_name(CONFIG_FILE);
    if config.is_file() {
        match own_config(path, names) {
            Ok(is_renamed) => {
                let settings = read_text(&config).map_err(|error| error.to_string()).and_then(|text| PeftSettings::parse(&text));
                let settings = settings.map_err(|reason| failed(format!("{}: {reason}", config.display())))?;
                if is_renamed {
                    notes.push(format!("its alpha is that of {CONFIG_FILE} beside it"));
                }
                return Ok(FoundSettings { settings: Some(settings), notes });
            }
            Err(reason) if lack_alpha => notes.push(format!("{CONFIG_FILE} beside it is not used: {reason}")),
            Err(_) => {}
        }
    }
    if lack_alpha {
        let flat = FLAT_ALPHAS.iter().filter_map(|name| Some((name, checkpoint.metadata(name)?)));
        notes.extend(flat.map(|(name, value)| {
            format!(
                "{name} {} in its header is not used, as by diffusers, ComfyUI and sd-scripts, which take alpha from tensors",
                Shown(value)
            )
        }));
    }
    Ok(FoundSettings { settings: None, notes })
}

/// Whether PEFT's configuration beside a file is its own though the file has another name than PEFT gives.
///
/// # Errors
/// Why it is not its own.
fn own_config(path: &Path, names: &[ModuleName]) -> Result<bool, &'static str> {
    if path.file_name().is_some_and(|name| name == PEFT_FILE) {
        return Ok(false);
    }
    if !names.iter().any(|name| name.dialect == Dialect::Peft) {
        return Err("this file's names are not PEFT's, and who writes them does not read it");
    }
    let beside = path.parent().map(lora_folder::safetensors_in).unwrap_or_default();
    match &beside[..] {
        [_] => Ok(true),
        files if files.iter().any(|file| file == PEFT_FILE) => Err("it belongs to adapter_model.safetensors"),
        _ => Err("there are several files that it may belong to"),
    }
}

/// What a header says about how the file was trained that people may expect to matter.
pub(crate) fn training_notes(checkpoint: &Checkpoint) -> Vec<String> {
    let says = |key: &str, word: &str| checkpoint.metadata(key).is_some_and(|text| text.to_lowercase().contains(word));
    let is_dylora = says("ss_network_module", "dylora") || says("ss_network_args", "dylora");
    let dylora = "it was trained as DyLoRA, whose scale changes with the rank in training only: all of its rank is used, scaled \
        by alpha over rank";
    is_dylora.then(|| dylora.to_owned()).into_iter().collect()
}
