//! What can be wrong with a GGUF file.

use crate::format::{BlockSize, Format};

/// Why a GGUF file cannot be used; [`CheckpointError::Gguf`](super::super::CheckpointError::Gguf) names the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufProblem {
    /// The header goes on after the end of the file.
    #[error("it ends at byte {size}, inside {what}, which takes {needed} bytes from byte {start}; {TRUNCATED}")]
    HeaderEnds {
        /// What was read.
        what: String,
        /// Where that starts.
        start: usize,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes of the file.
        size: usize,
    },
    /// The file is of a version that is not read.
    #[error("it is of version {found}, expected 2 or 3; convert it again with a current program")]
    Version {
        /// The file's version.
        found: u32,
    },
    /// The numbers in the file are in the byte order of another kind of processor.
    #[error("it is big-endian, expected little-endian; download the little-endian file of the same model")]
    BigEndian,
    /// More entries are announced than the rest of the file has room for.
    #[error(
        "it is said to have {found} {what}, but {rest} bytes have room for {most} at the most; the header is damaged, download it again"
    )]
    Count {
        /// What is counted.
        what: String,
        /// The number in the file.
        found: u64,
        /// Bytes that are left.
        rest: usize,
        /// Entries that fit.
        most: u64,
    },
    /// A name is not text.
    #[error("{what} at byte {start} is no UTF-8 text; the header is damaged, download it again")]
    Text {
        /// Which name.
        what: String,
        /// Where it starts.
        start: usize,
    },
    /// Metadata is of an unknown type.
    #[error("metadata {key} is of type {found}, expected 0 to 12; the header is damaged, download it again")]
    MetadataType {
        /// The metadata's name.
        key: String,
        /// The number of the type.
        found: u32,
    },
    /// Metadata that loading depends on has an impossible value.
    #[error("metadata {key} is {found}, expected {expected}; convert it again")]
    MetadataValue {
        /// The metadata's name.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The file is one part of several.
    #[error("it is one of {parts} parts, expected a whole file; merge them with llama.cpp's `llama-gguf-split`")]
    Split {
        /// How many parts there are.
        parts: u64,
    },
    /// A tensor has more dimensions than the format allows.
    #[error(
        "tensor {tensor} is said to have {found} dimensions, expected at most {most}; the header is damaged, download it again"
    )]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// The number in the file.
        found: u32,
        /// What is allowed.
        most: u32,
    },
    /// A tensor is larger than memory can address.
    #[error(
        "tensor {tensor} is said to have shape {shape:?}, which no memory has room for; the header is damaged, download it again"
    )]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// Its shape, outermost dimension first.
        shape: Vec<u64>,
    },
    /// A tensor is stored in a format that is not read.
    #[error(
        "tensor {tensor} is stored as {} (type {number}), expected {READABLE}; take a file in one of these", name.unwrap_or("an unknown format")
    )]
    UnknownFormat {
        /// The tensor.
        tensor: String,
        /// The number of the format.
        number: u32,
        /// Its name, if it has one.
        name: Option<&'static str>,
    },
    /// The rows of a tensor are no whole number of blocks.
    #[error(
        "tensor {tensor} of shape {shape:?} is stored as {format}, expected rows of a multiple of {} numbers; it was converted badly",
        block.elements
    )]
    Blocks {
        /// The tensor.
        tensor: String,
        /// Its shape, outermost dimension first.
        shape: Vec<usize>,
        /// Its format.
        format: Format,
        /// The blocks of the format.
        block: BlockSize,
    },
    /// A tensor starts where none may.
    #[error(
        "tensor {tensor} is said to start at byte {offset} of the data, expected a multiple of {alignment}; it was converted badly"
    )]
    Unaligned {
        /// The tensor.
        tensor: String,
        /// Where it starts.
        offset: u64,
        /// What starts are multiples of.
        alignment: usize,
    },
    /// A tensor lies beyond the end of the file.
    #[error("tensor {tensor} is said to take {needed} bytes from byte {offset} of the data, which has {found}; {TRUNCATED}")]
    Outside {
        /// The tensor.
        tensor: String,
        /// Where it starts.
        offset: u64,
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// Two tensors share bytes.
    #[error("tensors {first} and {second} are said to lie in the same bytes; the header is damaged, download it again")]
    Overlap {
        /// One tensor.
        first: String,
        /// The other.
        second: String,
    },
    /// Two tensors have the same name.
    #[error("tensor {tensor} is there twice; it was converted badly")]
    Duplicate {
        /// The name.
        tensor: String,
    },
    /// The shape that a regrouped tensor had before has another number of elements.
    #[error(
        "tensor {tensor} of shape {found:?} is said to have had shape {original:?}, expected as many numbers; it was converted badly"
    )]
    OriginalShape {
        /// The tensor.
        tensor: String,
        /// The shape in `comfy.gguf.orig_shape`.
        original: Vec<u64>,
        /// The shape in the file, outermost dimension first.
        found: Vec<usize>,
    },
}

const TRUNCATED: &str = "the download was cut off or the header is damaged, download it again";
const READABLE: &str = "F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, IQ4_NL, Q3_K or Q2_K";
