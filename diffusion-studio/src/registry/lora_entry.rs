//! A LoRA by its name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use diffusion_app::digest::Digest;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_lora::{Lora, Report};

use super::model_entry::ModelEntry;
use super::triggers::triggers;

/// A LoRA by its name: opened, no weight read.
#[derive(Debug)]
pub struct LoraEntry {
    /// The name that callers use: its path in the folder, without the extension.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
    /// Words that it was trained to answer to, as its header says.
    pub triggers: Vec<String>,
    /// What its header says besides.
    pub metadata: BTreeMap<String, String>,
    opened: Result<Lora, String>,
    digest: OnceLock<String>,
    problems: Mutex<BTreeMap<String, Option<String>>>,
}

impl LoraEntry {
    pub(super) fn open(name: String, path: PathBuf, bytes: u64, modified: SystemTime) -> Self {
        let checkpoint = Checkpoint::open(&path).ok();
        let entries = checkpoint.iter().flat_map(Checkpoint::metadata_entries);
        let metadata: BTreeMap<String, String> = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let triggers = triggers(&metadata);
        let opened = Lora::open(&path).map_err(|error| error.to_string());
        Self { name, path, bytes, modified, triggers, metadata, opened, digest: OnceLock::new(), problems: Mutex::default() }
    }

    /// The opened file.
    ///
    /// # Errors
    /// A sentence why it cannot be used.
    pub fn lora(&self) -> Result<&Lora, &str> {
        self.opened.as_ref().map_err(String::as_str)
    }

    /// What it holds, compared with no model.
    pub fn contents(&self) -> Option<Report> {
        self.opened.as_ref().ok().map(Lora::contents)
    }

    /// A sentence why it does not fit a model; `None` if it fits.
    pub fn problem_with(&self, model: &ModelEntry) -> Option<String> {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.entry(model.name.clone()).or_insert_with(|| self.compare(model)).clone()
    }

    fn compare(&self, model: &ModelEntry) -> Option<String> {
        let lora = match &self.opened {
            Ok(lora) => lora,
            Err(problem) => return Some(problem.clone()),
        };
        let report = lora.report(&model.targets);
        if report.num_matched() > 0 && report.fits() && report.widened.is_empty() {
            return None;
        }
        let made_for = report.made_for.map(|made_for| format!("; it seems to be made for {made_for}")).unwrap_or_default();
        let (matched, all) = (report.num_matched(), report.num_adapters);
        Some(format!("{matched} of its {all} modules fit {}{made_for}", model.name))
    }

    /// SHA-256 of its contents, read at the first call.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn digest(&self) -> std::io::Result<&str> {
        if let Some(digest) = self.digest.get() {
            return Ok(digest);
        }
        let mut reader = std::fs::File::open(&self.path)?;
        let digest = Digest::of_reader(&mut reader)?;
        Ok(self.digest.get_or_init(|| digest))
    }
}
