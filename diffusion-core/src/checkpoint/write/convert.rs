//! A checkpoint in another number format.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::Path;

use super::about::About;
use super::container::{Container, TensorSpec};
use super::error::WriteError;
use super::kept_entries::kept_entries;
use super::target::Target;
use super::writer::CheckpointWriter;
use crate::checkpoint::checkpoint::Checkpoint;
use crate::checkpoint::stored_tensor::StoredTensor;
use crate::format::Format;

/// Tensors with no more numbers keep their precision: they are biases, norms and small tables, where rounding shows most and
/// saves nothing. Reference: ComfyUI-GGUF `tools/convert.py` at 795e451.
const SMALL: usize = 1024;

/// What a conversion has to know of the model.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConversionRules<'a> {
    /// Prefixes of the components of an all-in-one file: each component has its own mark that it is scaled.
    pub component_prefixes: &'a [&'a str],
    /// Segments of the names of tables that are looked up, not multiplied with: programs that know scaled fp8 know it for
    /// products only.
    pub tables: &'a [&'a str],
    /// What GGUF files of the model call it.
    pub gguf_architecture: Option<&'a str>,
}

/// How far a conversion is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The tensor that is converted next; empty at the end.
    pub tensor: &'a str,
    /// Bytes read so far.
    pub done: usize,
    /// Bytes of all tensors.
    pub total: usize,
}

/// What a conversion did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    /// Tensors in the new file.
    pub num_tensors: usize,
    /// Bytes of their data.
    pub num_bytes: usize,
    /// Tensors that the new file cannot hold and no model needs, such as a tokenizer's file kept as bytes.
    pub dropped: Vec<String>,
    /// Keys of header entries that the new file cannot have.
    pub dropped_entries: Vec<String>,
}

/// Write `checkpoint` to `path`, whose ending (`.safetensors`, `.gguf`) tells the kind of file.
///
/// Names stay as [`Checkpoint`] has them. One tensor at a time is in memory. f32, f16 and bf16 are for all tensors. 8-bit
/// floats and blocks are for weights of two and more dimensions with more than 1024 numbers whose rows are whole blocks;
/// other tensors keep their type, and in GGUF files vectors and small ones become f32. What the header says besides the
/// tensors is kept, except for what is true of the old file alone, as its sums.
///
/// # Errors
/// [`WriteError`]; there is no file then, or the one that was there before.
pub fn convert(
    checkpoint: &Checkpoint,
    path: &Path,
    target: Target,
    rules: ConversionRules<'_>,
    on_tensor: &mut dyn FnMut(Progress),
) -> Result<Conversion, WriteError> {
    let container = Container::of(path).ok_or_else(|| WriteError::UnknownContainer { path: path.to_owned() })?;
    if !container.holds(target.format()) {
        let other = if container == Container::Gguf { Container::Safetensors } else { Container::Gguf };
        return Err(WriteError::Target { path: path.to_owned(), container, target, other });
    }
    let holds = |tensor: &StoredTensor| tensor.format().is_float() || container.holds(tensor.format());
    let (held, dropped): (Vec<_>, Vec<_>) = checkpoint.tensors().partition(|(_, tensor)| holds(tensor));
    let mut planned: Vec<PlannedTensor> =
        held.iter().map(|(name, tensor)| PlannedTensor::new(name, tensor, target, container, rules.tables)).collect();
    add_scales(&mut planned, rules.component_prefixes);
    // Wide numbers first, so that all are aligned.
    planned.sort_by_key(|tensor| Reverse(tensor.spec.format.block().bytes));

    let specs: Vec<TensorSpec> = planned.iter().map(|tensor| tensor.spec.clone()).collect();
    let num_bytes = specs.iter().filter_map(TensorSpec::num_bytes).sum();
    let (entries, dropped_entries) = kept_entries(checkpoint, container);
    let about = About { architecture: rules.gguf_architecture, entries };
    let mut writer = CheckpointWriter::create_about(path, container, specs, &about)?;
    let mut progress = Progress { tensor: "", done: 0, total: checkpoint.num_bytes() };
    for tensor in &planned {
        on_tensor(Progress { tensor: &tensor.spec.name, ..progress });
        writer.append(&tensor.bytes()?)?;
        progress.done += tensor.release();
    }
    writer.finish()?;
    on_tensor(progress);
    let dropped = dropped.into_iter().map(|(name, _)| name.to_owned()).collect();
    Ok(Conversion { num_tensors: planned.len(), num_bytes, dropped, dropped_entries })
}

/// One tensor of the new file.
struct PlannedTensor<'a> {
    spec: TensorSpec,
    content: Content<'a>,
}

/// What a tensor of the new file is made of.
#[derive(Clone, Copy)]
enum Content<'a> {
    Values(&'a StoredTensor),
    /// The values divided by their scale.
    Scaled(&'a StoredTensor),
    /// That scale.
    ScaleOf(&'a StoredTensor),
    /// The mark of a part that has scales.
    Mark,
}

impl<'a> PlannedTensor<'a> {
    fn new(name: &str, tensor: &'a StoredTensor, target: Target, container: Container, tables: &[&str]) -> Self {
        let spec = |format| TensorSpec { name: name.to_owned(), shape: tensor.shape().to_vec(), format };
        let is_small = tensor.shape().len() < 2 || tensor.shape().iter().product::<usize>() <= SMALL;
        let is_table = || name.split('.').any(|segment| tables.contains(&segment));
        let wanted = spec(target.format());
        let takes = match target {
            _ if !tensor.format().is_float() => false,
            Target::F32 | Target::F16 | Target::BF16 => true,
            Target::F8E4M3Scaled => !is_small && name.ends_with(".weight") && tensor.shape().len() == 2 && !is_table(),
            Target::F8E4M3 | Target::Q8_0 | Target::Q4_0 | Target::Q4K => !is_small && wanted.num_bytes().is_some(),
        };
        let kept = match tensor.format() {
            Format::F16 | Format::BF16 if container == Container::Gguf && is_small => Format::F32,
            plain @ (Format::F16 | Format::BF16 | Format::Other(_)) => plain,
            _ => Format::F32,
        };
        let content = if target == Target::F8E4M3Scaled && takes { Content::Scaled(tensor) } else { Content::Values(tensor) };
        Self { spec: if takes { wanted } else { spec(kept) }, content }
    }

    fn bytes(&self) -> Result<bytes::Bytes, WriteError> {
        let format = self.spec.format;
        match self.content {
            Content::Mark => Ok(bytes::Bytes::from_static(&[0; 2])),
            Content::ScaleOf(tensor) => Ok(scale_of(&tensor.to_f32()?).to_le_bytes().to_vec().into()),
            Content::Scaled(tensor) => {
                let mut values = tensor.to_f32()?;
                let scale = scale_of(&values);
                // The largest may come out a last place beyond the range.
                let limit = format.largest();
                for value in values.iter_mut().filter(|value| value.is_finite()) {
                    *value = (*value / scale).clamp(-limit, limit);
                }
                narrowed(tensor, &values, format)
            }
            Content::Values(tensor) => match tensor.plain_bytes() {
                Some(bytes) if tensor.format() == format => Ok(bytes),
                _ => narrowed(tensor, &tensor.to_f32()?, format),
            },
        }
    }

    /// Give back the memory of what was read; the number of bytes that are done with.
    fn release(&self) -> usize {
        match self.content {
            Content::Values(tensor) | Content::Scaled(tensor) => {
                tensor.release();
                tensor.num_bytes()
            }
            Content::ScaleOf(tensor) => {
                tensor.release();
                0
            }
            Content::Mark => 0,
        }
    }
}

/// Beside every scaled weight its scale, and one mark in every component that has such weights.
fn add_scales(planned: &mut Vec<PlannedTensor>, component_prefixes: &[&str]) {
    let mut components = BTreeSet::new();
    let mut added = Vec::new();
    for PlannedTensor { spec, content } in &*planned {
        let (Content::Scaled(tensor), Some(layer)) = (content, spec.name.strip_suffix(".weight")) else { continue };
        let scale = TensorSpec { name: format!("{layer}.scale_weight"), shape: Vec::new(), format: Format::F32 };
        added.push(PlannedTensor { spec: scale, content: Content::ScaleOf(tensor) });
        components.insert(component_prefixes.iter().copied().find(|prefix| layer.starts_with(prefix)).unwrap_or_default());
    }
    // Two elements say that the products are not to be computed in fp8, for which inputs would need scales too.
    let mark = |prefix: &str| TensorSpec { name: format!("{prefix}scaled_fp8"), shape: vec![2], format: Format::F8E4M3 };
    added.extend(components.into_iter().map(|prefix| PlannedTensor { spec: mark(prefix), content: Content::Mark }));
    planned.append(&mut added);
}

/// The scale with which the values just fill the range of the format.
fn scale_of(values: &[f32]) -> f32 {
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / Format::F8E4M3.largest();
    if scale.is_normal() { scale } else { 1.0 }
}

/// The values in another format; an error if it cannot hold them.
fn narrowed(tensor: &StoredTensor, values: &[f32], format: Format) -> Result<bytes::Bytes, WriteError> {
    let largest = format.largest();
    let has_infinity = matches!(format, Format::F32 | Format::F16 | Format::BF16);
    let fits = |value: f32| if value.is_finite() { value.abs() <= largest } else { has_infinity };
    if let Some(&value) = values.iter().find(|&&value| !fits(value)) {
        let (path, tensor) = (tensor.path().to_owned(), tensor.name().to_owned());
        return Err(WriteError::Range { path, tensor, format, value, largest });
    }
    let num_bytes = format.num_bytes(values.len()).unwrap_or_default();
    let mut bytes = vec![0; num_bytes];
    format.narrow(values, &mut bytes);
    Ok(bytes.into())
}
