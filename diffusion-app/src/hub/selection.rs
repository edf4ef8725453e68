//! Which files of a repository a run needs.

use std::collections::{BTreeMap, BTreeSet};

use diffusion_core::weights::ComponentId;
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, TRANSFORMER, VAE};
use serde_json::Value;

use super::error::HubError;
use super::folder::{CONFIG, is_index, shards, weights};
use super::listing::{Listing, in_folder};
use super::purpose::{Replaced, Use};
use super::reference::HubReference;

/// Which files of a repository a run needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Paths in the repository.
    pub(super) files: BTreeSet<String>,
    /// The file or folder among them that is opened; the repository itself is the empty one.
    pub(super) opened: String,
}

/// Reads a small file of the repository.
pub(super) type ReadFile<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<u8>, HubError>;

const MODEL_INDEX: &str = "model_index.json";
/// Beside PEFT's weights.
const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Names that diffusers and PEFT give LoRAs.
const LORA_NAMES: [&str; 2] = ["pytorch_lora_weights.safetensors", "adapter_model.safetensors"];
const SCHEDULER_CONFIG: &str = "scheduler_config.json";
/// What the tokenizers of this workspace read.
const TOKENIZER_FILES: [&str; 6] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"];
/// Endings of files that hold a model or a component of one.
const WEIGHT_ENDINGS: [&str; 3] = [".safetensors", ".gguf", ".dduf"];
/// Files of a similar name that are proposed.
const MAX_NEAR: usize = 3;
const LEAST_SIMILARITY: f64 = 0.7;

/// Which files of a repository a run needs.
pub(super) fn select(
    reference: &HubReference,
    purpose: &Use,
    listing: &Listing,
    read: ReadFile<'_>,
) -> Result<Selection, HubError> {
    let mut picking = Picking { reference, listing, read, files: BTreeSet::new() };
    let opened = match &reference.file {
        Some(file) if listing.has(file) => picking.file(file, purpose)?,
        Some(folder) if listing.in_folder(folder).next().is_some() || listing.has(&in_folder(folder, MODEL_INDEX)) => {
            picking.folder(folder, purpose)?
        }
        Some(file) => return Err(HubError::NoFile { reference: reference.clone(), near: near(file, listing) }),
        None => picking.folder("", purpose)?,
    };
    Ok(Selection { files: picking.files, opened })
}

struct Picking<'a> {
    reference: &'a HubReference,
    listing: &'a Listing,
    read: ReadFile<'a>,
    files: BTreeSet<String>,
}

impl Picking<'_> {
    /// A file that was named, with what belongs to it.
    fn file(&mut self, file: &str, purpose: &Use) -> Result<String, HubError> {
        self.weights(file)?;
        if *purpose == Use::Lora {
            let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            self.pick_if_there(&in_folder(folder, ADAPTER_CONFIG));
        }
        Ok(file.to_owned())
    }

    /// What fits the use in a folder, or in the whole repository.
    fn folder(&mut self, folder: &str, purpose: &Use) -> Result<String, HubError> {
        let has_index = self.listing.has(&in_folder(folder, MODEL_INDEX));
        match purpose {
            Use::Model(replaced) if has_index => {
                self.model(folder, replaced)?;
                Ok(folder.to_owned())
            }
            Use::Model(_) => self.only_file(folder, "model_index.json, and no single file of weights"),
            Use::Component(id) if has_index => {
                let parts = self.model_index(folder)?;
                let part = parts.into_iter().find(|(name, class)| component(name, class) == Some(*id));
                let (name, _) = part.ok_or_else(|| self.incomplete(format!("its model_index.json names no {id}")))?;
                self.component(&in_folder(folder, &name))
            }
            Use::Component(_) if weights(self.listing, folder).is_some() => self.component(folder),
            Use::Component(_) => self.only_file(folder, "weights that a component is read from"),
            Use::Lora => {
                let known = LORA_NAMES.map(|name| in_folder(folder, name));
                let known = known.into_iter().find(|name| self.listing.has(name));
                let file = known.map_or_else(|| self.only_file(folder, "LoRA in safetensors"), Ok)?;
                self.file(&file, purpose)
            }
        }
    }

    /// A diffusers folder: configurations, tokenizers and weights of what is not replaced.
    fn model(&mut self, folder: &str, replaced: &BTreeMap<ComponentId, Replaced>) -> Result<(), HubError> {
        let parts = self.model_index(folder)?;
        let replaced = |id: ComponentId| replaced.get(&id).copied();
        for (name, class) in &parts {
            let part = in_folder(folder, name);
            if let Some(id) = component(name, class) {
                match replaced(id) {
                    None => drop(self.component(&part)?),
                    Some(Replaced::ByAnother) => self.pick_if_there(&in_folder(&part, CONFIG)),
                    Some(Replaced::ByNothing) => {}
                }
            } else if name == "scheduler" {
                self.pick_if_there(&in_folder(&part, SCHEDULER_CONFIG));
            } else if let Some(number) = name.strip_prefix("tokenizer") {
                let encoder = format!("text_encoder{number}");
                let encoder = parts.iter().find(|(name, _)| *name == encoder);
                let absent = encoder.and_then(|(name, class)| replaced(component(name, class)?)) == Some(Replaced::ByNothing);
                if !absent {
                    for file in TOKENIZER_FILES {
                        self.pick_if_there(&in_folder(&part, file));
                    }
                }
            }
        }
        Ok(())
    }

    /// The components that a `model_index.json` names, and their classes.
    fn model_index(&mut self, folder: &str) -> Result<Vec<(String, String)>, HubError> {
        let path = in_folder(folder, MODEL_INDEX);
        let bytes = self.read(&path)?;
        let expected = "a model_index.json of diffusers";
        let index: BTreeMap<String, Value> = serde_json::from_slice(&bytes).map_err(|source| HubError::Malformed {
            repository: self.reference.repository.clone(),
            file: path,
            expected,
            source,
        })?;
        let part = |(name, value): (String, Value)| match value.as_array().map(Vec::as_slice) {
            Some([Value::String(_), Value::String(class)]) if !name.starts_with('_') => Some((name, class.clone())),
            _ => None,
        };
        Ok(index.into_iter().filter_map(part).collect())
    }

    /// The folder of a component.
    fn component(&mut self, folder: &str) -> Result<String, HubError> {
        let file = weights(self.listing, folder);
        let file = file.ok_or_else(|| self.incomplete(format!("{} has no weights in safetensors", named(folder))))?;
        self.weights(&file)?;
        self.pick_if_there(&in_folder(folder, CONFIG));
        Ok(folder.to_owned())
    }

    /// A file of weights, or an index with its shards.
    fn weights(&mut self, file: &str) -> Result<(), HubError> {
        if is_index(file) {
            let bytes = self.read(file)?;
            let shards = shards(file, &bytes).map_err(|source| HubError::Malformed {
                repository: self.reference.repository.clone(),
                file: file.to_owned(),
                expected: "an index of shards",
                source,
            })?;
            if let Some(missing) = shards.iter().find(|shard| !self.listing.has(shard)) {
                return Err(self.incomplete(format!("{missing} is missing")));
            }
            self.files.extend(shards);
        }
        self.files.insert(file.to_owned());
        Ok(())
    }

    /// The one file of weights that there is.
    fn only_file(&mut self, folder: &str, wanted: &'static str) -> Result<String, HubError> {
        let is_weights = |name: &&str| WEIGHT_ENDINGS.iter().any(|ending| name.ends_with(ending));
        let here: Vec<&str> = self.listing.in_folder(folder).filter(is_weights).collect();
        if let [file] = here[..] {
            let file = in_folder(folder, file);
            self.files.insert(file.clone());
            return Ok(file);
        }
        let below = |path: &&str| folder.is_empty() || path.starts_with(&format!("{folder}/"));
        let found: Vec<String> = self.listing.paths().filter(below).filter(is_weights).map(str::to_owned).collect();
        if let ([], [file]) = (&here[..], &found[..]) {
            self.files.insert(file.clone());
            return Ok(file.clone());
        }
        Err(HubError::Choose { reference: self.reference.clone(), wanted, found })
    }

    fn read(&mut self, file: &str) -> Result<Vec<u8>, HubError> {
        self.files.insert(file.to_owned());
        (self.read)(file)
    }

    fn pick_if_there(&mut self, file: &str) {
        if self.listing.has(file) {
            self.files.insert(file.to_owned());
        }
    }

    fn incomplete(&self, missing: String) -> HubError {
        HubError::Incomplete { repository: self.reference.repository.clone(), missing }
    }
}

fn named(folder: &str) -> &str {
    if folder.is_empty() { "it" } else { folder }
}

/// Which component of ours an entry of a `model_index.json` is. T5 is the third text encoder of one family, and the second of
/// the other.
fn component(name: &str, class: &str) -> Option<ComponentId> {
    match name {
        "transformer" => Some(TRANSFORMER),
        "vae" => Some(VAE),
        "text_encoder" | "text_encoder_2" | "text_encoder_3" if class.starts_with("T5") => Some(T5XXL),
        "text_encoder" => Some(CLIP_L),
        "text_encoder_2" => Some(CLIP_G),
        _ => None,
    }
}

/// Files of a name that is like another one.
fn near(file: &str, listing: &Listing) -> Vec<String> {
    let lower = file.to_lowercase();
    let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let similarity = |path: &str| strsim::jaro_winkler(&last(path), &last(&lower));
    let mut found: Vec<(f64, &str)> = listing.paths().map(|path| (similarity(path), path)).collect();
    found.retain(|(similarity, _)| *similarity >= LEAST_SIMILARITY);
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().take(MAX_NEAR).map(|(_, path)| path.to_owned()).collect()
}

#[cfg(test)]
mod tests;
