//! GGUF files, versions 2 and 3: memory-mapped and lazy.
//!
//! Names stay as the file has them: image models keep their original ones, T5 has llama.cpp's.
//!
//! Reference: ggml `include/gguf.h` at d99724f; ComfyUI-GGUF `loader.py` at 795e451.

mod cursor;
mod metadata;
pub(super) mod problem;

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::Dtype;

use self::cursor::Cursor;
use self::metadata::Metadata;
use self::problem::GgufProblem;
use super::mapped_file::MappedFile;
use super::stored_tensor::{StoredTensor, Tensors};
use crate::format::Format;

pub(super) const MAGIC: &[u8; 4] = b"GGUF";
const MOST_DIMENSIONS: u32 = 4;

/// Bytes that an entry takes at the least: lengths, types and numbers, with an empty name.
const SMALLEST_METADATA: u64 = 8 + 4 + 1;
const SMALLEST_TENSOR: u64 = 8 + 4 + 4 + 8;

/// A tensor as the header announces it.
struct TensorInfo {
    name: String,
    /// Outermost dimension first.
    shape: Vec<usize>,
    format: Format,
    offset: u64,
    num_bytes: usize,
}

pub(super) fn read(file: &Arc<MappedFile>) -> Result<Tensors, GgufProblem> {
    let mut cursor = Cursor::new(&file.bytes, MAGIC.len());
    let version = cursor.u32(&"the version")?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 2 | 3) => return Err(GgufProblem::BigEndian),
        found => return Err(GgufProblem::Version { found }),
    }
    let num_tensors = cursor.count(&"tensors", SMALLEST_TENSOR)?;
    let num_metadata = cursor.count(&"metadata entries", SMALLEST_METADATA)?;
    let metadata = Metadata::read(&mut cursor, num_metadata)?;
    let infos = (0..num_tensors).map(|_| TensorInfo::read(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
    let data_start = cursor.at.next_multiple_of(metadata.alignment);
    let data_len = file.bytes.len().saturating_sub(data_start);
    check_places(&infos, metadata.alignment, data_len)?;

    file.metadata.get_or_init(|| metadata.texts);
    let mut tensors = Tensors::new();
    for info in infos {
        let shape = match metadata.original_shapes.get(&info.name) {
            Some(original) => info.original_shape(original)?,
            None => info.shape,
        };
        // Without bytes, it may be said to lie in the padding after the end.
        let start = if info.num_bytes == 0 { 0 } else { data_start + info.offset as usize };
        let range = start..start + info.num_bytes;
        let tensor = StoredTensor::new(file.clone(), info.name.clone(), info.format, shape, range);
        if tensors.insert(info.name.clone(), tensor).is_some() {
            return Err(GgufProblem::Duplicate { tensor: info.name });
        }
    }
    Ok(tensors)
}

impl TensorInfo {
    fn read(cursor: &mut Cursor) -> Result<Self, GgufProblem> {
        let name = cursor.text(&"the name of a tensor")?.to_owned();
        let what = format_args!("the description of tensor {name}");
        let num_dimensions = cursor.u32(&what)?;
        if num_dimensions > MOST_DIMENSIONS {
            return Err(GgufProblem::Dimensions { tensor: name, found: num_dimensions, most: MOST_DIMENSIONS });
        }
        // The file has the innermost dimension first.
        let mut sizes = (0..num_dimensions).map(|_| cursor.u64(&what)).collect::<Result<Vec<_>, _>>()?;
        sizes.reverse();
        let number = cursor.u32(&what)?;
        let offset = cursor.u64(&what)?;
        let Some(format) = format_of(number) else {
            return Err(GgufProblem::UnknownFormat { tensor: name, number, name: name_of_unread(number) });
        };
        let too_large = || GgufProblem::TooLarge { tensor: name.clone(), shape: sizes.clone() };
        let shape = addressable(&sizes).ok_or_else(too_large)?;
        let row = shape.last().copied().unwrap_or(1);
        let block = format.block();
        if !row.is_multiple_of(block.elements) {
            return Err(GgufProblem::Blocks { tensor: name, shape, format, block });
        }
        let num_bytes = format.num_bytes(shape.iter().product()).ok_or_else(too_large)?;
        Ok(Self { name, shape, format, offset, num_bytes })
    }

    fn original_shape(&self, original: &[u64]) -> Result<Vec<usize>, GgufProblem> {
        let elements: usize = self.shape.iter().product();
        let shape = addressable(original).filter(|shape| shape.iter().product::<usize>() == elements);
        shape.ok_or_else(|| GgufProblem::OriginalShape {
            tensor: self.name.clone(),
            original: original.to_vec(),
            found: self.shape.clone(),
        })
    }
}

/// The shape, if the product of its sizes can be taken. A size of zero must not hide that the others are absurd.
fn addressable(sizes: &[u64]) -> Option<Vec<usize>> {
    let shape = sizes.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>()?;
    shape.iter().filter(|&&size| size > 0).try_fold(1usize, |all, &size| all.checked_mul(size))?;
    Some(shape)
}

/// Every tensor lies at an aligned place, inside the data, and apart from all others.
fn check_places(infos: &[TensorInfo], alignment: usize, data_len: usize) -> Result<(), GgufProblem> {
    let mut places = BTreeMap::new();
    for info in infos {
        let TensorInfo { name, offset, num_bytes, .. } = info;
        if !offset.is_multiple_of(alignment as u64) {
            return Err(GgufProblem::Unaligned { tensor: name.clone(), offset: *offset, alignment });
        }
        let end = usize::try_from(*offset).ok().and_then(|offset| offset.checked_add(*num_bytes));
        if end.is_none_or(|end| end > data_len) {
            return Err(GgufProblem::Outside { tensor: name.clone(), offset: *offset, needed: *num_bytes, found: data_len });
        }
        if *num_bytes > 0
            && let Some(first) = places.insert(*offset, info)
        {
            return Err(overlap(first, info));
        }
    }
    let ends_before = |first: &TensorInfo, second: &TensorInfo| first.offset + first.num_bytes as u64 <= second.offset;
    match places.values().zip(places.values().skip(1)).find(|(first, second)| !ends_before(first, second)) {
        Some((first, second)) => Err(overlap(first, second)),
        None => Ok(()),
    }
}

fn overlap(first: &TensorInfo, second: &TensorInfo) -> GgufProblem {
    if first.name == second.name {
        return GgufProblem::Duplicate { tensor: first.name.clone() };
    }
    GgufProblem::Overlap { first: first.name.clone(), second: second.name.clone() }
}

/// Numbers of formats in GGUF files. Reference: ggml `include/ggml.h`, `enum ggml_type`, at d99724f.
const FORMATS: [(u32, Format); 19] = [
    (0, Format::F32),
    (1, Format::F16),
    (2, Format::Q4_0),
    (3, Format::Q4_1),
    (6, Format::Q5_0),
    (7, Format::Q5_1),
    (8, Format::Q8_0),
    (10, Format::Q2K),
    (11, Format::Q3K),
    (12, Format::Q4K),
    (13, Format::Q5K),
    (14, Format::Q6K),
    (20, Format::IQ4NL),
    (24, Format::Other(Dtype::I8)),
    (25, Format::Other(Dtype::I16)),
    (26, Format::Other(Dtype::I32)),
    (27, Format::Other(Dtype::I64)),
    (28, Format::F64),
    (30, Format::BF16),
];

fn format_of(number: u32) -> Option<Format> {
    FORMATS.iter().find(|(known, _)| *known == number).map(|(_, format)| *format)
}

/// The number that stands for `format` in GGUF files.
pub(super) fn number_of(format: Format) -> Option<u32> {
    FORMATS.iter().find(|(_, known)| *known == format).map(|(number, _)| *number)
}

fn name_of_unread(number: u32) -> Option<&'static str> {
    Some(match number {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        29 => "IQ1_M",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        _ => return None,
    })
}
