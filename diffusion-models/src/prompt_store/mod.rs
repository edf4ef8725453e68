//! Encoded texts that are kept on disk between runs, so that a known text needs no text encoder.
//!
//! ```text
//! FOLDER/prompt-KEY.safetensors    `tokens` and `pooled`, and a checksum; no text
//! ```
//!
//! A key is a hash of all that the numbers depend on: the text's tokens, the files and sizes of the text encoders, their patches,
//! the precision, and who computes them. So another model, build or device finds nothing, and a text that is found is equal to
//! the bit to one that is encoded. Any number of processes may share the folder: files appear whole or not at all.

mod encoded_file;
mod error;
mod in_use;
mod key;

use std::fs::{self, DirEntry, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use burn::tensor::Device;
use diffusion_core::files::UnfinishedFile;
use diffusion_core::network::Conditioning;

pub use encoded_file::read_encoded_prompt;
pub use error::PromptStoreError;
pub use in_use::PromptStoreReport;
pub(crate) use in_use::StoreInUse;
pub(crate) use key::{KeyHasher, PromptKey};

const PREFIX: &str = "prompt-";
const SUFFIX: &str = ".safetensors";

/// A folder of encoded texts with a bound on its size. A [`Pipeline`](crate::Pipeline) that is given one reads from it what was
/// encoded before, by any process, and adds what was not.
///
/// ```
/// use burn::tensor::Device;
/// use diffusion_models::{Pipeline, PipelineOptions, PromptStore, ignore};
///
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../diffusion-app/assets/mini-sd3");
/// let folder = tempfile::tempdir()?;
/// for run in 0..2 {
///     let mut pipeline = Pipeline::open(model.as_ref(), &PipelineOptions::new(&Device::default()))?;
///     pipeline.set_prompt_store(PromptStore::open(folder.path(), "this build, on this processor")?);
///     let settings = pipeline.default_settings();
///     pipeline.encode_prompt("a large green star", "", &settings, &mut ignore)?;
///     assert_eq!(pipeline.has_prompt_encoder(), run == 0);
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PromptStore {
    folder: PathBuf,
    maker: String,
    limit: u64,
}

impl PromptStore {
    /// Bytes that a store takes, unless [told otherwise](Self::with_limit): a text of 512 tokens takes 8 MB.
    pub const DEFAULT_LIMIT: u64 = 1 << 30;

    /// The store in a folder, which is made if it is not there, for this user alone.
    ///
    /// `maker` is all that the last bits of an encoded text may depend on besides text and model: the build of the program and
    /// the device.
    ///
    /// # Errors
    /// [`PromptStoreError::Folder`] if the folder cannot be made, or no file in it.
    pub fn open(folder: &Path, maker: impl Into<String>) -> Result<Self, PromptStoreError> {
        let attempt = || {
            private_folders(folder)?;
            UnfinishedFile::beside(&folder.join(PREFIX)).map(drop)
        };
        attempt().map_err(|source| PromptStoreError::Folder { folder: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned(), maker: maker.into(), limit: Self::DEFAULT_LIMIT })
    }

    /// The store with room for so many bytes. Where they do not suffice, the texts that were not asked for the longest leave.
    #[must_use]
    pub fn with_limit(self, bytes: u64) -> Self {
        Self { limit: bytes, ..self }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn maker(&self) -> &str {
        &self.maker
    }

    /// Where the encoded text of a key is, if it is kept.
    pub(crate) fn path_of(&self, key: &PromptKey) -> PathBuf {
        self.folder.join(format!("{PREFIX}{key}{SUFFIX}"))
    }

    /// The encoded text of a key, if it is there; its token vectors and its pooled vector have these widths.
    ///
    /// # Errors
    /// [`PromptStoreError`] if there is something else, or it cannot be read.
    pub(crate) fn get(
        &self,
        key: &PromptKey,
        widths: [usize; 2],
        device: &Device,
    ) -> Result<Option<Conditioning>, PromptStoreError> {
        let path = self.path_of(key);
        let file = match diffusion_core::files::open_regular_file(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(PromptStoreError::Read { path, source }),
        };
        let conditioning = encoded_file::read(&path, &file, Some((key, widths)), device)?;
        // The time of its last use. Where it cannot be set, the text leaves sooner.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(conditioning))
    }

    /// Keep an encoded text, and tell whether it was: it is not if it takes more than there is room for, or has numbers that are
    /// not finite.
    ///
    /// # Errors
    /// [`PromptStoreError`] if it cannot be written, or others cannot be removed.
    pub(crate) fn keep(&self, key: &PromptKey, conditioning: &Conditioning) -> Result<bool, PromptStoreError> {
        let Some(bytes) = encoded_file::bytes(key, conditioning).filter(|bytes| bytes.len() as u64 <= self.limit) else {
            return Ok(false);
        };
        let path = self.path_of(key);
        write_private(&path, &bytes).map_err(|source| PromptStoreError::Write { path: path.clone(), source })?;
        self.make_room(&path).map_err(|source| PromptStoreError::Folder { folder: self.folder.clone(), source })?;
        Ok(true)
    }

    /// Remove the texts that were not asked for the longest, until the others fit. `newest` stays.
    fn make_room(&self, newest: &Path) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            kept.extend(KeptFile::of(&entry?));
        }
        let mut total: u64 = kept.iter().map(|file| file.size).sum();
        kept.sort_by_key(|file| file.used);
        for file in kept.iter().filter(|file| file.path != newest) {
            if total <= self.limit {
                break;
            }
            match fs::remove_file(&file.path) {
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            total -= file.size;
        }
        Ok(())
    }
}

/// A file of a store.
struct KeptFile {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

impl KeptFile {
    /// `None` for whatever else is in the folder: it is not the store's to count or remove.
    fn of(entry: &DirEntry) -> Option<Self> {
        let name = entry.file_name().into_string().ok()?;
        let key = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        PromptKey::is_one(key).then(|| Self { path: entry.path(), size: metadata.len(), used })
    }
}

/// Make a folder and those above it, for this user alone where they are new.
fn private_folders(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// Write a file that this user alone can read, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = UnfinishedFile::beside(path)?;
    make_private(file.as_file())?;
    file.write_all(bytes)?;
    file.persist()
}

#[cfg(unix)]
fn make_private(file: &File) -> io::Result<()> {
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail where files have permissions")]
fn make_private(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
