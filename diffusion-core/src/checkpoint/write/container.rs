//! The two kinds of files, and their headers.

use std::fmt::{self, Display};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorInfo};

use super::about::About;
use crate::checkpoint::gguf;
use crate::format::Format;

/// A kind of checkpoint file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Container {
    /// Plain numbers of any float type.
    Safetensors,
    /// Plain numbers or blocks.
    Gguf,
}

/// Tensors start at multiples of this.
const GGUF_ALIGNMENT: usize = 32;
const GGUF_VERSION: u32 = 3;
const GGUF_MOST_DIMENSIONS: usize = 4;
const GGUF_U32: u32 = 4;
const GGUF_TEXT: u32 = 8;
/// The version of the block formats; all files since 2023 have it.
const GGUF_QUANTIZATION_VERSION: u32 = 2;

/// The header's length is a multiple of this, so that numbers of eight bytes are aligned.
const SAFETENSORS_ALIGNMENT: usize = 8;

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the file.
    pub name: String,
    /// Its shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// Its format.
    pub format: Format,
}

impl TensorSpec {
    /// Bytes that it takes; `None` if its rows are no whole number of blocks.
    pub fn num_bytes(&self) -> Option<usize> {
        let block = self.format.block();
        let whole = self.shape.last().unwrap_or(&1).is_multiple_of(block.elements);
        whole.then(|| self.format.num_bytes(self.shape.iter().product()))?
    }
}

impl Container {
    /// The kind of file that the name's ending tells.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        [Self::Safetensors, Self::Gguf].into_iter().find(|container| extension.eq_ignore_ascii_case(container.extension()))
    }

    /// The ending of names of such files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "gguf",
        }
    }

    /// Whether a file of this kind can hold a tensor of this format.
    pub fn holds(self, format: Format) -> bool {
        match self {
            Self::Safetensors => safetensors_dtype(format).is_some(),
            Self::Gguf => gguf::number_of(format).is_some(),
        }
    }

    /// Bytes of the file that a tensor of `num_bytes` bytes takes.
    pub(super) fn padded(self, num_bytes: usize) -> usize {
        match self {
            Self::Safetensors => num_bytes,
            Self::Gguf => num_bytes.next_multiple_of(GGUF_ALIGNMENT),
        }
    }

    /// The header of a file of `specs`; the tensor that it cannot hold, if there is one.
    pub(super) fn header<'s>(self, specs: &'s [TensorSpec], about: &About<'_>) -> Result<Vec<u8>, &'s TensorSpec> {
        match self {
            Self::Safetensors => safetensors_header(specs, about),
            Self::Gguf => gguf_header(specs, about),
        }
    }
}

impl Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "GGUF",
        })
    }
}

fn safetensors_dtype(format: Format) -> Option<Dtype> {
    match format {
        Format::F64 => Some(Dtype::F64),
        Format::F32 => Some(Dtype::F32),
        Format::F16 => Some(Dtype::F16),
        Format::BF16 => Some(Dtype::BF16),
        Format::F8E4M3 => Some(Dtype::F8_E4M3),
        Format::F8E5M2 => Some(Dtype::F8_E5M2),
        Format::Other(dtype) => Some(dtype),
        _ => None,
    }
}

fn safetensors_header<'s>(specs: &'s [TensorSpec], about: &About<'_>) -> Result<Vec<u8>, &'s TensorSpec> {
    let mut entries = about.entries.clone();
    // transformers refuses files that do not say which program's tensors they hold.
    entries.insert("format".to_owned(), "pt".to_owned());
    // The crate's own header has these entries in an order that is another in every run.
    let mut members = vec![format!("\"__metadata__\":{}", serde_json::json!(entries))];
    let mut start = 0;
    for spec in specs {
        let (dtype, num_bytes) = safetensors_dtype(spec.format).zip(spec.num_bytes()).ok_or(spec)?;
        let end = start + num_bytes;
        let info = TensorInfo { dtype, shape: spec.shape.clone(), data_offsets: (start, end) };
        let info = serde_json::to_string(&info).map_err(|_| spec)?;
        members.push(format!("{}:{info}", serde_json::json!(spec.name)));
        start = end;
    }
    let mut json = format!("{{{}}}", members.join(",")).into_bytes();
    json.resize(json.len().next_multiple_of(SAFETENSORS_ALIGNMENT), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    Ok(header)
}

fn gguf_header<'s>(specs: &'s [TensorSpec], About { architecture, entries }: &About<'_>) -> Result<Vec<u8>, &'s TensorSpec> {
    let mut header = Header(gguf::MAGIC.to_vec());
    header.u32(GGUF_VERSION);
    header.u64(specs.len());
    header.u64(1 + usize::from(architecture.is_some()) + entries.len());
    if let Some(architecture) = architecture {
        header.text("general.architecture");
        header.u32(GGUF_TEXT);
        header.text(architecture);
    }
    for (key, value) in entries {
        header.text(key);
        header.u32(GGUF_TEXT);
        header.text(value);
    }
    header.text("general.quantization_version");
    header.u32(GGUF_U32);
    header.u32(GGUF_QUANTIZATION_VERSION);
    let mut offset = 0;
    for spec in specs {
        let (number, num_bytes) = gguf::number_of(spec.format).zip(spec.num_bytes()).ok_or(spec)?;
        if spec.shape.len() > GGUF_MOST_DIMENSIONS {
            return Err(spec);
        }
        header.text(&spec.name);
        header.u32(spec.shape.len() as u32);
        spec.shape.iter().rev().for_each(|&size| header.u64(size));
        header.u32(number);
        header.u64(offset);
        offset += Container::Gguf.padded(num_bytes);
    }
    let mut header = header.0;
    header.resize(header.len().next_multiple_of(GGUF_ALIGNMENT), 0);
    Ok(header)
}

struct Header(Vec<u8>);

impl Header {
    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: usize) {
        self.0.extend((value as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u64(text.len());
        self.0.extend(text.as_bytes());
    }
}
