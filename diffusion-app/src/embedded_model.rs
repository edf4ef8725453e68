//! A miniature model that the program carries.
//!
//! Models are read from files that stay mapped, so the carried one is unpacked into the user's cache folder, once, and checked
//! byte by byte whenever it is asked for.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use diffusion_models::{LatentRgb, Settings};
use tempfile::TempDir;

use crate::cache_folder::cache_folder;

/// Name of the model.
pub const NAME: &str = "mini-sd3";

macro_rules! files {
    ($($name:literal,)*) => { [$(($name, include_bytes!(concat!("../assets/mini-sd3/", $name)).as_slice())),*] };
}

/// All files of the model and their bytes.
static FILES: [(&str, &[u8]); 23] = files![
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "text_encoder_2/config.json",
    "text_encoder_2/model.safetensors",
    "text_encoder_3/config.json",
    "text_encoder_3/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "tokenizer_2/merges.txt",
    "tokenizer_2/special_tokens_map.json",
    "tokenizer_2/tokenizer_config.json",
    "tokenizer_2/vocab.json",
    "tokenizer_3/special_tokens_map.json",
    "tokenizer_3/tokenizer.json",
    "tokenizer_3/tokenizer_config.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];

/// Steps and guidance that it draws best with.
const STEPS_AND_GUIDANCE: (usize, f64) = (20, 5.0);

/// Colours of its latents, for previews: its autoencoder is its own, and those of the architecture are off.
///
/// Least squares over the latents of 24 of its images; the colours are 19 of 255 levels off in the mean.
pub const LATENT_RGB: LatentRgb = LatentRgb {
    factors: [
        [-0.0368, -0.0061, -0.0168],
        [-0.0505, 0.0381, 0.1629],
        [0.1163, 0.0987, -0.0742],
        [-0.0855, 0.0303, -0.0977],
        [-0.0123, 0.0561, 0.0014],
        [-0.1002, -0.0676, -0.0102],
        [-0.0767, -0.0770, 0.0557],
        [-0.1690, 0.0015, 0.1642],
        [0.0025, -0.0372, -0.0114],
        [-0.0293, -0.0764, 0.0534],
        [-0.0393, -0.0482, 0.0391],
        [-0.0737, 0.0199, 0.0311],
        [-0.0764, -0.0153, -0.1554],
        [0.0158, 0.0115, -0.0118],
        [-0.1770, -0.1380, -0.0372],
        [0.1880, 0.1615, 0.0746],
    ],
    bias: [0.0415, 0.0115, -0.0560],
};

/// The settings that the model draws best with, from those of its architecture.
pub fn recommended(settings: Settings) -> Settings {
    let (num_steps, guidance_scale) = STEPS_AND_GUIDANCE;
    Settings { num_steps, guidance_scale, ..settings }
}

/// Beginning of the names of folders in which the model is being unpacked.
const STAGING: &str = ".unpacking-";

/// The folder of the embedded model, a miniature of Stable Diffusion 3.5 Medium in the diffusers layout.
///
/// It lies in the user's cache folder (`$XDG_CACHE_HOME` or `~/.cache` on Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%`
/// on Windows). Where that cannot be written it lies in a temporary folder, which is kept as long as the process runs;
/// [`UnpackedModel`] tells about that, and removes the folder in the end.
///
/// # Errors
/// [`EmbeddedModelError`].
///
/// # Example
/// ```
/// let model = diffusion_app::embedded_model()?;
/// assert!(model.join("model_index.json").exists());
/// # Ok::<_, diffusion_app::embedded_model::EmbeddedModelError>(())
/// ```
pub fn embedded_model() -> Result<PathBuf, EmbeddedModelError> {
    static UNPACKED: Mutex<Option<UnpackedModel>> = Mutex::new(None);
    let mut unpacked = UNPACKED.lock().unwrap_or_else(PoisonError::into_inner);
    let model = match unpacked.take() {
        Some(model) if is_whole(&model.path) => model,
        _ => UnpackedModel::in_user_cache()?,
    };
    Ok(unpacked.insert(model).path.clone())
}

/// The embedded model in a folder. A temporary folder is removed when this is dropped.
#[derive(Debug)]
pub struct UnpackedModel {
    path: PathBuf,
    temporary: Option<(CacheUnavailable, TempDir)>,
}

/// A warning: the model is in a temporary folder.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the embedded model in {}, so it is unpacked for this run only", place(folder.as_deref()))]
pub struct CacheUnavailable {
    /// The cache folder, if there is one.
    pub folder: Option<PathBuf>,
    /// What the operating system says.
    pub source: io::Error,
}

fn place(folder: Option<&Path>) -> String {
    folder.map_or_else(|| "a cache folder of the user".to_owned(), |folder| folder.display().to_string())
}

/// Why the embedded model cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedModelError {
    /// Neither the cache folder nor a temporary one can be written.
    #[error("cannot unpack the embedded model into {}; free some space there, or choose another temporary folder", folder.display())]
    Temporary {
        /// The system's folder for temporary ones.
        folder: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl UnpackedModel {
    /// The model in the user's cache folder, or else in a temporary one.
    ///
    /// # Errors
    /// [`EmbeddedModelError`].
    pub fn in_user_cache() -> Result<Self, EmbeddedModelError> {
        match cache_folder() {
            Ok(folder) => Self::in_cache(&folder),
            Err(source) => Self::in_temporary_folder(CacheUnavailable { folder: None, source }),
        }
    }

    /// The model in a cache folder, which is made if it is not there, or else in a temporary one.
    ///
    /// # Errors
    /// [`EmbeddedModelError`].
    pub fn in_cache(folder: &Path) -> Result<Self, EmbeddedModelError> {
        match unpack_once(folder) {
            Ok(path) => Ok(Self { path, temporary: None }),
            Err(source) => Self::in_temporary_folder(CacheUnavailable { folder: Some(folder.to_owned()), source }),
        }
    }

    fn in_temporary_folder(warning: CacheUnavailable) -> Result<Self, EmbeddedModelError> {
        let attempt = || {
            let folder = tempfile::Builder::new().prefix("diffusion-").tempdir()?;
            let path = folder.path().join(NAME);
            write_files(&path)?;
            Ok(Self { path, temporary: Some((warning, folder)) })
        };
        attempt().map_err(|source| EmbeddedModelError::Temporary { folder: std::env::temp_dir(), source })
    }

    /// The folder of the model.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why the model is in a temporary folder, if it is.
    pub fn warning(&self) -> Option<&CacheUnavailable> {
        self.temporary.as_ref().map(|(warning, _)| warning)
    }
}

/// The model's folder in a cache folder. Whatever else is there under its name is replaced, at one stroke.
fn unpack_once(cache: &Path) -> io::Result<PathBuf> {
    let path = cache.join(format!("{NAME}-{:08x}", checksum()));
    if is_whole(&path) {
        return Ok(path);
    }
    fs::create_dir_all(cache)?;
    let lock = lock(cache)?;
    if is_whole(&path) {
        return Ok(path); // Another program was faster.
    }
    if lock.is_some() {
        remove_leftovers(cache)?;
    }
    let staging = tempfile::Builder::new().prefix(STAGING).tempdir_in(cache)?;
    let new = staging.path().join(NAME);
    write_files(&new)?;
    if path.symlink_metadata().is_ok() {
        fs::rename(&path, staging.path().join("damaged"))?;
    }
    fs::rename(&new, &path)?;
    Ok(path)
}

/// Waits until no other program unpacks into the folder; none where its file system has no locks.
fn lock(cache: &Path) -> io::Result<Option<File>> {
    let file = File::create(cache.join(".lock"))?;
    match file.lock() {
        Ok(()) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes what programs left that were ended while they unpacked.
fn remove_leftovers(cache: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(STAGING) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Writes all files, and reads them back.
fn write_files(folder: &Path) -> io::Result<()> {
    for (name, bytes) in &FILES {
        let file = folder.join(name);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(file, bytes)?;
    }
    if is_whole(folder) { Ok(()) } else { Err(io::Error::other("the files do not read as they were written")) }
}

/// Whether a folder holds every file with its bytes.
fn is_whole(folder: &Path) -> bool {
    FILES.iter().all(|(name, bytes)| fs::read(folder.join(name)).is_ok_and(|found| found == *bytes))
}

/// Tells versions of the model apart. Whether one is whole is found out by its bytes.
fn checksum() -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for (name, bytes) in &FILES {
        hasher.update(name.as_bytes());
        hasher.update(bytes);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use super::*;

    /// Bytes of every file below a folder, by path, and when each was written.
    fn contents(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(
                    contents(&path).into_iter().map(|(name, file)| (Path::new(path.file_name().unwrap()).join(name), file)),
                );
            } else {
                let written = path.metadata().unwrap().modified().unwrap();
                found.insert(path.file_name().unwrap().into(), (fs::read(&path).unwrap(), written));
            }
        }
        found
    }

    fn bytes(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        contents(folder).into_iter().map(|(path, (bytes, _))| (path, bytes)).collect()
    }

    fn source() -> BTreeMap<PathBuf, Vec<u8>> {
        bytes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/mini-sd3"))
    }

    /// Names in a cache folder.
    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_unpacked_model_has_the_files_of_the_repository() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("new/folder");
        let model = UnpackedModel::in_cache(&folder).unwrap();
        assert!(bytes(model.path()) == source());
        assert!(model.warning().is_none());
        assert_eq!(names(&folder), [".lock", model.path().file_name().unwrap().to_str().unwrap()]);
    }

    #[test]
    fn unpacking_twice_changes_nothing() {
        let cache = tempfile::tempdir().unwrap();
        let first = UnpackedModel::in_cache(cache.path()).unwrap();
        let before = contents(first.path());
        let second = UnpackedModel::in_cache(cache.path()).unwrap();
        assert_eq!(first.path(), second.path());
        assert!(contents(second.path()) == before);
    }

    #[test]
    fn what_is_half_unpacked_or_damaged_is_replaced() {
        type Damage = fn(&Path);
        let damages: [Damage; 4] = [
            |model| fs::remove_file(model.join("transformer/config.json")).unwrap(),
            |model| fs::write(model.join("vae/config.json"), "{").unwrap(),
            |model| {
                let path = model.join("text_encoder/model.safetensors");
                let mut bytes = fs::read(&path).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(path, bytes).unwrap();
            },
            |model| {
                fs::remove_dir_all(model).unwrap();
                fs::write(model, "a file in its place").unwrap();
            },
        ];
        let cache = tempfile::tempdir().unwrap();
        for damage in damages {
            let path = UnpackedModel::in_cache(cache.path()).unwrap().path().to_owned();
            damage(&path);
            // What a program leaves that is ended while it unpacks.
            fs::create_dir(cache.path().join(format!("{STAGING}left"))).unwrap();
            let model = UnpackedModel::in_cache(cache.path()).unwrap();
            assert!(model.path() == path && bytes(&path) == source() && model.warning().is_none());
            assert_eq!(names(cache.path()), [".lock", path.file_name().unwrap().to_str().unwrap()]);
        }
    }

    #[test]
    fn programs_that_unpack_at_the_same_time_do_not_clash() {
        let cache = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let model = UnpackedModel::in_cache(cache.path()).unwrap();
                    assert!(model.warning().is_none() && is_whole(model.path()));
                });
            }
        });
        assert_eq!(names(cache.path()).len(), 2);
    }

    #[test]
    fn a_cache_that_cannot_be_written_gives_a_temporary_folder_and_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        // Also the superuser cannot make a folder where a file is.
        fs::write(&cache, "a file").unwrap();
        let model = UnpackedModel::in_cache(&cache).unwrap();
        let path = model.path().to_owned();
        assert!(bytes(&path) == source());
        let warning = model.warning().unwrap();
        assert_eq!(warning.folder.as_deref(), Some(&*cache));
        assert!(warning.to_string().contains("unpacked for this run only"));
        drop(model);
        assert!(!path.exists());
    }

    /// As an administrator may set it up for all users.
    #[cfg(unix)]
    #[test]
    fn a_read_only_cache_serves_if_the_model_is_there() {
        use std::os::unix::fs::PermissionsExt;
        let cache = tempfile::tempdir().unwrap();
        let path = UnpackedModel::in_cache(cache.path()).unwrap().path().to_owned();
        fs::remove_file(cache.path().join(".lock")).unwrap();
        fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let model = UnpackedModel::in_cache(cache.path()).unwrap();
        fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(model.path() == path && model.warning().is_none());
        assert_eq!(names(cache.path()).len(), 1);
    }
}
