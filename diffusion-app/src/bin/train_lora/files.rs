//! Files of a run: the LoRA, those written on the way, and what is needed to go on.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffusion_core::weights::PatchTarget;
use diffusion_lora::train::{
    FactorFormat, LoraSpelling, TrainedLora, Trainer, TrainingNotes, read_state, read_state_notes, write_state,
};

use crate::adapters::trained_modules;

/// What is needed to go on with the run of an output.
fn state_of(output: &Path) -> PathBuf {
    output.with_extension("state.safetensors")
}

/// What a run must have in common with the one of this output before it; nothing if there was none.
pub(crate) fn earlier_identity(output: &Path) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let path = state_of(output);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    Ok(read_state_notes(&path).map_err(|error| format!("{error}; --restart begins anew"))?)
}

/// Files of a run, all beside its output.
#[derive(Debug)]
pub(crate) struct RunFiles<'a> {
    pub(crate) output: &'a Path,
    pub(crate) spelling: LoraSpelling,
    pub(crate) format: FactorFormat,
    pub(crate) targets: &'a [PatchTarget],
    pub(crate) notes: TrainingNotes,
    /// What a run must have in common with the one that it goes on with.
    pub(crate) identity: BTreeMap<String, String>,
}

impl RunFiles<'_> {
    /// What is needed to go on.
    pub(crate) fn state(&self) -> PathBuf {
        state_of(self.output)
    }

    /// The LoRA after a step.
    fn checkpoint(&self, step: usize) -> PathBuf {
        let stem = self.output.file_stem().unwrap_or_default().to_string_lossy();
        self.output.with_file_name(format!("{stem}-{step:06}.safetensors"))
    }

    /// Write the LoRA as it is now.
    pub(crate) fn write_output(&self, trainer: &Trainer) -> Result<(), Box<dyn Error>> {
        self.write(trainer, self.output)
    }

    /// Write the LoRA as it is now under the number of its step, and remove those before the last `keep`.
    pub(crate) fn write_checkpoint(&self, trainer: &Trainer, every: usize, keep: usize) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.checkpoint(trainer.steps());
        self.write(trainer, &path)?;
        if let Some(old) = trainer.steps().checked_sub(every * keep).filter(|&old| old > 0) {
            // What somebody took away need not be removed.
            let _ = fs::remove_file(self.checkpoint(old));
        }
        Ok(path)
    }

    fn write(&self, trainer: &Trainer, path: &Path) -> Result<(), Box<dyn Error>> {
        let modules = trained_modules(trainer);
        let mut notes = self.notes.clone();
        notes.settings.insert("steps".to_owned(), trainer.steps().to_string());
        let (targets, spelling, format) = (self.targets, self.spelling, self.format);
        Ok(TrainedLora { modules: &modules, targets, spelling, format, notes: &notes }.write(path)?)
    }

    /// Whether the LoRA could be written.
    pub(crate) fn check(&self, trainer: &Trainer) -> Result<(), Box<dyn Error>> {
        let modules = trained_modules(trainer);
        let (targets, spelling, format) = (self.targets, self.spelling, self.format);
        Ok(TrainedLora { modules: &modules, targets, spelling, format, notes: &self.notes }.check(self.output)?)
    }

    /// Write what is needed to go on.
    pub(crate) fn write_state(&self, trainer: &Trainer) -> Result<(), Box<dyn Error>> {
        Ok(write_state(&self.state(), &trainer.state(), &self.identity)?)
    }

    /// Go on from an earlier run, if there is one.
    ///
    /// # Errors
    /// If it was another run: what differs.
    pub(crate) fn resume(&self, trainer: &mut Trainer, device: &Device) -> Result<bool, Box<dyn Error>> {
        let path = self.state();
        if !path.exists() {
            return Ok(false);
        }
        let (state, identity) = read_state(&path, device)?;
        let changes = self.changes_since(&identity);
        if !changes.is_empty() {
            return Err(format!(
                "{} is of a run with other settings or pictures; with these it cannot go on:\n  {}\n(--restart begins anew, another \
                 --output keeps it)",
                path.display(),
                changes.join("\n  ")
            )
            .into());
        }
        trainer.restore(state)?;
        Ok(true)
    }

    fn changes_since(&self, before: &BTreeMap<String, String>) -> Vec<String> {
        let names = self.identity.keys().chain(before.keys().filter(|name| !self.identity.contains_key(*name)));
        let value =
            |values: &BTreeMap<String, String>, name: &str| values.get(name).cloned().unwrap_or_else(|| "nothing".to_owned());
        let changes = names.filter(|name| self.identity.get(*name) != before.get(*name));
        changes.map(|name| format!("{name}: {} before, {} now", value(before, name), value(&self.identity, name))).collect()
    }
}
