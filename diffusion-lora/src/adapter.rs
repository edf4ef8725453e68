//! A LoRA file as data: adapters, each with the module that it patches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::dialects::{self, Dialect, ModuleName};
use crate::report::{Reason, Report, WithoutEffect};
use crate::tensors::AdapterTensors;

/// What a file does to one module.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// The module, as the file spells it.
    pub(crate) key: String,
    pub(crate) module: ModuleName,
    pub(crate) tensors: AdapterTensors,
}

/// A LoRA file, opened and understood.
#[derive(Debug)]
pub(crate) struct LoraFile {
    pub(crate) path: PathBuf,
    /// Another for every file that is opened.
    pub(crate) id: u64,
    pub(crate) adapters: Vec<Arc<Adapter>>,
    /// Tensors that belong to no adapter.
    pub(crate) unexpected: Vec<String>,
    /// Embeddings of a textual inversion, which are not used.
    pub(crate) embeddings: Vec<String>,
    /// What PEFT calls the adapters, where names tell.
    pub(crate) adapter_names: Vec<String>,
    /// What else there is to say about the file.
    pub(crate) notes: Vec<String>,
}

impl LoraFile {
    /// The dialects that its names are in, each once.
    pub(crate) fn dialects(&self) -> Vec<Dialect> {
        let mut dialects: Vec<_> = self.adapters.iter().map(|adapter| adapter.module.dialect).collect();
        dialects.sort_unstable();
        dialects.dedup();
        dialects
    }

    /// What the file holds, compared with no model.
    pub(crate) fn contents(&self) -> Report {
        let mut methods = BTreeMap::new();
        for adapter in &self.adapters {
            *methods.entry(adapter.tensors.kind()).or_insert(0) += 1;
        }
        let ranks = self.adapters.iter().filter_map(|adapter| adapter.tensors.rank);
        let alphas = self.adapters.iter().filter_map(|adapter| adapter.tensors.alpha);
        let prefixes: BTreeSet<&str> = self.adapters.iter().map(|adapter| adapter.module.prefix.as_str()).collect();
        let embedding = |name: &String| WithoutEffect { name: name.clone(), reason: Reason::Embedding };
        let of_denoiser = self.adapters.iter().filter(|adapter| adapter.module.aliases.contains(&dialects::TRANSFORMER));
        Report {
            path: self.path.clone(),
            dialects: self.dialects(),
            prefixes: prefixes.into_iter().filter(|prefix| !prefix.is_empty()).map(str::to_owned).collect(),
            adapter_names: self.adapter_names.clone(),
            methods,
            ranks: ranks.clone().min().zip(ranks.max()),
            alphas: alphas.clone().reduce(f64::min).zip(alphas.reduce(f64::max)),
            num_adapters: self.adapters.len(),
            num_tensors: self.adapters.iter().map(|adapter| adapter.tensors.num_tensors()).sum(),
            matched: BTreeMap::new(),
            unexpected: Vec::new(),
            mismatched: Vec::new(),
            widened: Vec::new(),
            without_effect: self.embeddings.iter().map(embedding).collect(),
            notes: self.notes.clone(),
            made_for: dialects::made_for(of_denoiser.map(|adapter| adapter.key.as_str())),
        }
    }
}
