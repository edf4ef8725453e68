//! A file that is written tensor by tensor.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::about::About;
use super::container::{Container, TensorSpec};
use super::error::WriteError;
use crate::files::UnfinishedFile;

/// Writes a file tensor by tensor, under another name in the same folder until it is whole; see [`UnfinishedFile`].
///
/// ```
/// use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
/// use diffusion_core::checkpoint::Checkpoint;
/// use diffusion_core::format::Format;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("small.gguf");
/// let spec = TensorSpec { name: "weight".to_owned(), shape: vec![2, 32], format: Format::Q8_0 };
/// let mut bytes = vec![0; 68];
/// spec.format.narrow(&[0.5; 64], &mut bytes);
///
/// let mut writer = CheckpointWriter::create(&path, Container::Gguf, vec![spec], None)?;
/// writer.append(&bytes)?;
/// writer.finish()?;
/// assert_eq!(Checkpoint::open(&path)?.shape("weight"), Some(&[2, 32][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CheckpointWriter {
    path: PathBuf,
    container: Container,
    file: BufWriter<UnfinishedFile>,
    specs: Vec<TensorSpec>,
    written: usize,
}

impl CheckpointWriter {
    /// Start a file of `specs`, in this order. `architecture` is for GGUF files: other programs choose the model by it.
    ///
    /// # Errors
    /// [`WriteError`] when the folder cannot be written to, a tensor does not fit into such a file, or two have one name.
    pub fn create(
        path: &Path,
        container: Container,
        specs: Vec<TensorSpec>,
        architecture: Option<&str>,
    ) -> Result<Self, WriteError> {
        Self::create_about(path, container, specs, &About { architecture, ..About::default() })
    }

    /// As [`create`](Self::create), with what the file is to say of itself.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_about(
        path: &Path,
        container: Container,
        specs: Vec<TensorSpec>,
        about: &About<'_>,
    ) -> Result<Self, WriteError> {
        let mut names = BTreeSet::new();
        if let Some(spec) = specs.iter().find(|spec| !names.insert(spec.name.as_str())) {
            return Err(WriteError::Duplicate { path: path.to_owned(), tensor: spec.name.clone() });
        }
        let header = container.header(&specs, about).map_err(|spec| WriteError::Tensor {
            path: path.to_owned(),
            tensor: spec.name.clone(),
            shape: spec.shape.clone(),
            format: spec.format,
            container,
        })?;
        let failed = |source| WriteError::Write { path: path.to_owned(), source };
        let mut file = BufWriter::with_capacity(1 << 20, UnfinishedFile::beside(path).map_err(failed)?);
        file.write_all(&header).map_err(failed)?;
        Ok(Self { path: path.to_owned(), container, file, specs, written: 0 })
    }

    /// Write the next tensor: its bytes in the format that its [`TensorSpec`] has.
    ///
    /// # Errors
    /// [`WriteError`] when the bytes are not as many as announced, or cannot be written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let Some(spec) = self.specs.get(self.written) else { return Err(self.wrong_count(self.written + 1)) };
        let expected = spec.num_bytes().unwrap_or_default();
        if bytes.len() != expected {
            let tensor = spec.name.clone();
            return Err(WriteError::Length { path: self.path.clone(), tensor, expected, found: bytes.len() });
        }
        let padding = vec![0; self.container.padded(expected) - expected];
        let written = self.file.write_all(bytes).and_then(|()| self.file.write_all(&padding));
        written.map_err(|source| WriteError::Write { path: self.path.clone(), source })?;
        self.written += 1;
        Ok(())
    }

    /// Give the file its name, in place of one that has it already.
    ///
    /// # Errors
    /// [`WriteError`] when tensors are missing or the file cannot be written to the end.
    pub fn finish(self) -> Result<(), WriteError> {
        if self.written != self.specs.len() {
            return Err(self.wrong_count(self.written));
        }
        let failed = |source| WriteError::Write { path: self.path.clone(), source };
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist().map_err(failed)
    }

    fn wrong_count(&self, found: usize) -> WriteError {
        WriteError::Count { path: self.path.clone(), expected: self.specs.len(), found }
    }
}
