//! Small files, well-formed or not.

use std::path::{Path, PathBuf};

use diffusion_core::checkpoint::{Checkpoint, CheckpointError};

pub(crate) type Tensor<'a> = (&'a str, &'a str, &'a [usize], &'a [u8]);

/// A file of the generator beside the tests.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A safetensors file of (name, dtype, shape, bytes).
pub(crate) fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    safetensors_about(tensors, &[])
}

/// One whose header has these entries besides.
pub(crate) fn safetensors_about(tensors: &[Tensor], about: &[(&str, &str)]) -> Vec<u8> {
    let about = about.iter().map(|(key, value)| format!("{key:?}:{value:?}")).collect::<Vec<_>>().join(",");
    let about = (!about.is_empty()).then(|| format!(r#""__metadata__":{{{about}}}"#));
    let mut start = 0;
    let entries = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let end = start + bytes.len();
        let entry = format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#);
        start = end;
        entry
    });
    let header = format!("{{{}}}", about.into_iter().chain(entries).collect::<Vec<_>>().join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    for (_, _, _, bytes) in tensors {
        file.extend(*bytes);
    }
    file
}

pub(crate) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Open bytes as the file `broken.file`.
pub(crate) fn open(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(Path::new("broken.file"), bytes.to_vec())
}

pub(crate) fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    checkpoint.get(name).unwrap_or_else(|| panic!("no {name}")).to_f32().unwrap()
}

/// The error's text, which must name the file and everything in `named`.
#[track_caller]
pub(crate) fn assert_names(error: &dyn std::error::Error, file: &str, named: &[&str]) {
    let text = error.to_string();
    for expected in [file].iter().chain(named) {
        assert!(text.contains(expected), "{expected:?} is not in: {text}");
    }
}

/// A GGUF file that can be made to lie.
pub(crate) struct GgufFile {
    pub(crate) version: u32,
    /// In place of the true numbers of tensors and metadata entries.
    pub(crate) counts: [Option<u64>; 2],
    /// Name, type and value, already encoded.
    pub(crate) metadata: Vec<Vec<u8>>,
    pub(crate) tensors: Vec<GgufTensor>,
    pub(crate) data: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct GgufTensor {
    pub(crate) name: Vec<u8>,
    /// Innermost dimension first.
    pub(crate) sizes: Vec<u64>,
    pub(crate) format: u32,
    pub(crate) offset: u64,
}

impl GgufTensor {
    pub(crate) fn new(name: &str, sizes: &[u64], format: u32, offset: u64) -> Self {
        Self { name: name.as_bytes().to_vec(), sizes: sizes.to_vec(), format, offset }
    }
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

pub(crate) fn metadata(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [text(name), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
}

impl GgufFile {
    pub(crate) fn new(tensors: Vec<GgufTensor>, data_len: usize) -> Self {
        Self { version: 3, counts: [None; 2], metadata: Vec::new(), tensors, data: vec![0; data_len] }
    }

    pub(crate) fn with_metadata(mut self, entry: Vec<u8>) -> Self {
        self.metadata.push(entry);
        self
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        let mut header = b"GGUF".to_vec();
        header.extend(self.version.to_le_bytes());
        header.extend(self.counts[0].unwrap_or(self.tensors.len() as u64).to_le_bytes());
        header.extend(self.counts[1].unwrap_or(self.metadata.len() as u64).to_le_bytes());
        self.metadata.iter().for_each(|entry| header.extend(entry));
        for tensor in &self.tensors {
            header.extend((tensor.name.len() as u64).to_le_bytes());
            header.extend(&tensor.name);
            header.extend((tensor.sizes.len() as u32).to_le_bytes());
            tensor.sizes.iter().for_each(|size| header.extend(size.to_le_bytes()));
            header.extend(tensor.format.to_le_bytes());
            header.extend(tensor.offset.to_le_bytes());
        }
        header
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}
