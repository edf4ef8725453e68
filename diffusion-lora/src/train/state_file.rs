//! What a trainer knows, in a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use diffusion_core::checkpoint::write::{About, CheckpointWriter, Container, TensorSpec, WriteError};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError, StoredTensor};
use diffusion_core::format::Format;
use thiserror::Error;

use super::optimizer::OptimizerState;
use super::trainer::TrainerState;

/// Entries of the header.
const FORMAT: (&str, &str) = ("content", "training state 1");
const STEPS: &str = "steps";
const AVERAGE_UPDATES: &str = "average_updates";
/// Prefixes of entries, and of tensors.
const NUMBER: &str = "number/";
const NOTE: &str = "note/";
const PARAMETER: &str = "parameter/";
const OPTIMIZER: &str = "optimizer/";
const AVERAGE: &str = "average/";

/// Why a file holds no state of a trainer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateFileError {
    /// It cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is something else, or damaged.
    #[error("{} is no state of a training run: {reason}", path.display())]
    NotAState {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Write what a trainer knows, to the bit, and notes by name. The file appears whole or not at all.
///
/// # Errors
/// [`WriteError`] if it cannot be written.
pub fn write_state(path: &Path, state: &TrainerState, notes: &BTreeMap<String, String>) -> Result<(), WriteError> {
    let mut entries = BTreeMap::from([(FORMAT.0.to_owned(), FORMAT.1.to_owned())]);
    entries.insert(STEPS.to_owned(), state.steps.to_string());
    // Bits, since readers of decimals round.
    let bits = |(name, number): (&String, &f64)| (format!("{NUMBER}{name}"), format!("{:016x}", number.to_bits()));
    entries.extend(state.optimizer.numbers.iter().map(bits));
    entries.extend(notes.iter().map(|(name, note)| (format!("{NOTE}{name}"), note.clone())));
    let mut tensors: Vec<(String, &Tensor<2>)> = Vec::new();
    tensors.extend(state.parameters.iter().map(|(name, tensor)| (format!("{PARAMETER}{name}"), tensor)));
    tensors.extend(state.optimizer.tensors.iter().map(|(name, tensor)| (format!("{OPTIMIZER}{name}"), tensor)));
    if let Some((updates, average)) = &state.average {
        entries.insert(AVERAGE_UPDATES.to_owned(), updates.to_string());
        tensors.extend(average.iter().enumerate().map(|(index, tensor)| (format!("{AVERAGE}{index}"), tensor)));
    }
    let spec = |(name, tensor): &(String, &Tensor<2>)| {
        let shape = tensor.dims().to_vec();
        TensorSpec { name: name.clone(), shape, format: Format::F32 }
    };
    let about = About { entries, ..About::default() };
    let specs = tensors.iter().map(spec).collect();
    let mut writer = CheckpointWriter::create_about(path, Container::Safetensors, specs, &about)?;
    for (_, tensor) in tensors {
        let bytes: Vec<u8> = tensor.to_data().iter::<f32>().flat_map(f32::to_le_bytes).collect();
        writer.append(&bytes)?;
    }
    writer.finish()
}

/// Read what [`write_state`] wrote.
///
/// # Errors
/// [`StateFileError`] if the file cannot be read, or holds something else.
pub fn read_state(path: &Path, device: &Device) -> Result<(TrainerState, BTreeMap<String, String>), StateFileError> {
    let checkpoint = Checkpoint::open(path)?;
    let notes = notes_of(&checkpoint)?;
    let wrong = |reason: &str| StateFileError::NotAState { path: path.to_owned(), reason: reason.to_owned() };
    let entries = checkpoint.metadata_entries();
    let count = |name: &str| entries.get(name).and_then(|count| count.parse::<u64>().ok());
    let steps = count(STEPS).ok_or_else(|| wrong("its header has no number of steps"))?;
    let mut state =
        TrainerState { steps: steps as usize, parameters: BTreeMap::new(), optimizer: OptimizerState::default(), average: None };
    for (name, value) in &entries {
        if let Some(name) = name.strip_prefix(NUMBER) {
            let bits = u64::from_str_radix(value, 16).map_err(|_| wrong("a number of its header is none"))?;
            state.optimizer.numbers.insert(name.to_owned(), f64::from_bits(bits));
        }
    }
    let mut average = BTreeMap::new();
    for (name, stored) in checkpoint.tensors() {
        let matrix = matrix(stored, device)?.ok_or_else(|| wrong("it has a tensor that is no matrix of f32"))?;
        if let Some(name) = name.strip_prefix(PARAMETER) {
            state.parameters.insert(name.to_owned(), matrix);
        } else if let Some(name) = name.strip_prefix(OPTIMIZER) {
            state.optimizer.tensors.insert(name.to_owned(), matrix);
        } else if let Some(index) = name.strip_prefix(AVERAGE).and_then(|index| index.parse::<usize>().ok()) {
            average.insert(index, matrix);
        } else {
            return Err(wrong("it has a tensor of an unknown name"));
        }
    }
    state.average = count(AVERAGE_UPDATES).map(|updates| (updates, average.into_values().collect()));
    Ok((state, notes))
}

/// Read the notes of what [`write_state`] wrote, and nothing else.
///
/// # Errors
/// [`StateFileError`] if the file cannot be read, or holds something else.
pub fn read_state_notes(path: &Path) -> Result<BTreeMap<String, String>, StateFileError> {
    notes_of(&Checkpoint::open(path)?)
}

fn notes_of(checkpoint: &Checkpoint) -> Result<BTreeMap<String, String>, StateFileError> {
    let entries = checkpoint.metadata_entries();
    if entries.get(FORMAT.0) != Some(&FORMAT.1) {
        let reason = "its header does not say that it is one".to_owned();
        return Err(StateFileError::NotAState { path: checkpoint.path().to_owned(), reason });
    }
    let note = |(name, value): (&str, &str)| Some((name.strip_prefix(NOTE)?.to_owned(), value.to_owned()));
    Ok(entries.into_iter().filter_map(note).collect())
}

fn matrix(stored: &StoredTensor, device: &Device) -> Result<Option<Tensor<2>>, CheckpointError> {
    let &[rows, columns] = stored.shape() else { return Ok(None) };
    if stored.format() != Format::F32 {
        return Ok(None);
    }
    Ok(Some(Tensor::from_data(TensorData::new(stored.to_f32()?, [rows, columns]), device)))
}
