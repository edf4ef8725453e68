//! Safetensors files: memory-mapped and lazy.

use std::sync::Arc;

use safetensors::tensor::Metadata;

use super::error::CheckpointError;
use super::mapped_file::MappedFile;
use super::stored_tensor::{StoredTensor, Tensors};
use crate::format::Format;

/// The longest header, in bytes. Reference: safetensors `tensor.rs`, `MAX_HEADER_SIZE`, at 0.8.0.
const MOST_HEADER: u64 = 100_000_000;

pub(super) fn read(file: &Arc<MappedFile>) -> Result<Tensors, CheckpointError> {
    let size = file.bytes.len();
    let broken = |reason: String| CheckpointError::Header { path: file.path.clone(), size: size as u64, reason };
    let (data_start, metadata) = read_header(&file.bytes).map_err(broken)?;
    file.metadata.get_or_init(|| metadata.metadata().clone().unwrap_or_default());
    let mut tensors = Tensors::new();
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let range = data_start + start..data_start + end;
        let tensor = StoredTensor::new(file.clone(), name.clone(), Format::from(info.dtype), info.shape.clone(), range);
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// Where the data of a safetensors file starts, and what its header says: tensors that follow one another, as long as their
/// shapes and types call for, and that take up the rest of the file.
///
/// Not `SafeTensors::read_metadata`, which adds up lengths that can exceed the largest number (safetensors 0.8.0).
fn read_header(file: &[u8]) -> Result<(usize, Metadata), String> {
    /// Bytes of the number that tells the length of the header.
    const LENGTH_SIZE: usize = 8;
    if file.is_empty() {
        return Err("it is empty".to_owned());
    }
    let (length, rest) = file.split_first_chunk::<LENGTH_SIZE>().ok_or("it is too short for a header")?;
    let length = u64::from_le_bytes(*length);
    let parts = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let parts = parts.filter(|_| length <= MOST_HEADER);
    let (header, data) = parts.ok_or_else(|| format!("its header is said to be {length} bytes long"))?;
    let metadata: Metadata = serde_json::from_slice(header).map_err(|error| format!("its header is malformed: {error}"))?;
    if metadata.data_len() == data.len() {
        Ok((LENGTH_SIZE + header.len(), metadata))
    } else {
        Err(format!("its tensors take {} bytes, and {} are there", metadata.data_len(), data.len()))
    }
}
