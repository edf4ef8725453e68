//! An encoded text as a safetensors file.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io::{self, Read};
use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_core::files::{Shown, open_regular_file};
use diffusion_core::network::Conditioning;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::error::PromptStoreError;
use super::key::{KeyHasher, PromptKey};

/// Entries of the header.
const FORMAT: (&str, &str) = ("format", "encoded prompt 1");
const KEY: &str = "key";
const CHECKSUM: &str = "sha256";
/// Tensors.
const TOKENS: &str = "tokens";
const POOLED: &str = "pooled";
/// Longer than any: 4096 tokens of T5 take 67 MB.
const MOST_BYTES: u64 = 1 << 28;

/// The file of an encoded text; `None` if its numbers are no f32, or not finite.
pub(super) fn bytes(key: &PromptKey, conditioning: &Conditioning) -> Option<Vec<u8>> {
    let tokens = Matrix::of(conditioning.tokens.to_data())?;
    let pooled = Matrix::of(conditioning.pooled.to_data())?;
    let header = [(FORMAT.0, FORMAT.1.to_owned()), (KEY, key.to_string()), (CHECKSUM, checksum(&tokens, &pooled))];
    let header = header.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<HashMap<_, _>>();
    safetensors::serialize([(TOKENS, tokens.view()?), (POOLED, pooled.view()?)], Some(header)).ok()
}

/// The encoded text of a file that a [`PromptStore`](super::PromptStore) keeps.
///
/// # Errors
/// [`PromptStoreError`] if there is none, or it is damaged.
pub fn read_encoded_prompt(path: &Path, device: &Device) -> Result<Conditioning, PromptStoreError> {
    let file = open_regular_file(path).map_err(|source| PromptStoreError::Read { path: path.to_owned(), source })?;
    read(path, &file, None, device)
}

/// The encoded text of an opened file, which must be that of a key and have two widths, if they are given.
pub(super) fn read(
    path: &Path,
    file: &File,
    expected: Option<(&PromptKey, [usize; 2])>,
    device: &Device,
) -> Result<Conditioning, PromptStoreError> {
    let bytes = read_bounded(file).map_err(|source| PromptStoreError::Read { path: path.to_owned(), source })?;
    let damaged = |reason| PromptStoreError::Damaged { path: path.to_owned(), reason };
    let (tokens, pooled) = parse(&bytes, expected.map(|(key, _)| key)).map_err(damaged)?;
    let fits = match (&*tokens.shape, &*pooled.shape) {
        (&[1, length, width], &[1, columns]) if ![length, width, columns].contains(&0) => {
            expected.is_none_or(|(_, widths)| widths == [width, columns])
        }
        _ => false,
    };
    if !fits {
        return Err(damaged(format!("its tensors have the shapes {:?} and {:?}", tokens.shape, pooled.shape)));
    }
    let to = (device, DType::F32);
    Ok(Conditioning { tokens: Tensor::from_data(tokens.into_data(), to), pooled: Tensor::from_data(pooled.into_data(), to) })
}

fn read_bounded(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(MOST_BYTES) as usize);
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {MOST_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Both tensors, or what is wrong.
fn parse(bytes: &[u8], key: Option<&PromptKey>) -> Result<(Matrix, Matrix), String> {
    let said = |error: safetensors::SafeTensorError| Shown(&error.to_string()).to_string();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(said)?;
    let file = SafeTensors::deserialize(bytes).map_err(said)?;
    let entry = |name: &str| header.metadata().as_ref().and_then(|entries| entries.get(name)).map(String::as_str);
    if entry(FORMAT.0) != Some(FORMAT.1) {
        return Err("its header does not say that it is one".to_owned());
    }
    if key.is_some_and(|key| entry(KEY) != Some(&key.to_string())) {
        return Err("it is that of another text or model".to_owned());
    }
    let matrix = |name| {
        let tensor = file.tensor(name).map_err(said)?;
        if tensor.dtype() != Dtype::F32 {
            return Err(format!("its tensor {name} holds {:?}, and no F32", tensor.dtype()));
        }
        Ok(Matrix { shape: tensor.shape().to_vec(), bytes: tensor.data().to_vec() })
    };
    let (tokens, pooled) = (matrix(TOKENS)?, matrix(POOLED)?);
    if entry(CHECKSUM) != Some(&checksum(&tokens, &pooled)) {
        return Err("its numbers do not have the checksum that its header says".to_owned());
    }
    Ok((tokens, pooled))
}

fn checksum(tokens: &Matrix, pooled: &Matrix) -> String {
    let mut state = KeyHasher::default();
    (tokens, pooled).hash(&mut state);
    state.key().to_string()
}

/// Numbers in f32, in little-endian order.
#[derive(Debug, Hash)]
struct Matrix {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Matrix {
    fn of(data: TensorData) -> Option<Self> {
        let values = data.as_slice::<f32>().ok().filter(|values| values.iter().all(|value| value.is_finite()))?;
        Some(Self { bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(), shape: data.shape().to_vec() })
    }

    fn view(&self) -> Option<TensorView<'_>> {
        TensorView::new(Dtype::F32, self.shape.clone(), &self.bytes).ok()
    }

    fn into_data(self) -> TensorData {
        let values: Vec<f32> = self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        TensorData::new(values, self.shape)
    }
}
