//! Encoded prompts that are kept between runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL};
use diffusion_models::{PromptStore, PromptStoreError};
use sysinfo::{CpuRefreshKind, RefreshKind, System};

use crate::cache_folder::cache_folder;
use crate::device::DeviceName;
use crate::devices::Devices;

/// Where programs keep encoded prompts unless told otherwise: in the user's cache folder.
///
/// # Errors
/// That the user has no home folder.
pub fn prompt_folder() -> io::Result<PathBuf> {
    Ok(cache_folder()?.join("prompts"))
}

/// The encoded prompts in a folder that this program made on this device. Those of other builds, processors and devices are not
/// found, so that what is found is equal to the bit to what would be computed.
///
/// # Errors
/// [`PromptStoreError::Folder`] if the folder cannot be made or written.
///
/// # Example
/// ```
/// use diffusion_app::device::DeviceName;
/// use diffusion_app::prompt_cache::open_prompt_cache;
///
/// # #[cfg(feature = "flex")]
/// # {
/// let folder = tempfile::tempdir()?;
/// let store = open_prompt_cache(folder.path(), DeviceName::Cpu, &DeviceName::Cpu.open()?)?;
/// assert_eq!(store.folder(), folder.path());
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn open_prompt_cache(folder: &Path, name: DeviceName, device: &Device) -> Result<PromptStore, PromptStoreError> {
    let maker = maker(name, device).map_err(|source| PromptStoreError::Folder { folder: folder.to_owned(), source })?;
    PromptStore::open(folder, maker)
}

/// The same where text encoders may be on several devices. Those of other places are not found either.
///
/// # Errors
/// As [`open_prompt_cache`].
pub fn open_prompt_cache_on(folder: &Path, devices: &Devices) -> Result<PromptStore, PromptStoreError> {
    let mut described = [CLIP_L, CLIP_G, T5XXL].map(|encoder| devices.of(encoder).to_string()).to_vec();
    // Together on one device, they are described by it alone.
    if described.iter().all(|other| *other == described[0]) {
        described.truncate(1);
    }
    let maker = maker_on(&described.join("; "));
    PromptStore::open(folder, maker.map_err(|source| PromptStoreError::Folder { folder: folder.to_owned(), source })?)
}

/// Where programs keep pictures and captions that are encoded for training unless told otherwise: in the user's cache folder.
///
/// # Errors
/// That the user has no home folder.
pub fn training_folder() -> io::Result<PathBuf> {
    Ok(cache_folder()?.join("training"))
}

/// All that the last bits of what this program computes on this device may depend on besides its input.
///
/// # Errors
/// What the operating system says if it cannot be asked about the program's file.
pub fn maker(name: DeviceName, device: &Device) -> io::Result<String> {
    maker_on(&name.describe(device))
}

fn maker_on(described: &str) -> io::Result<String> {
    Ok(format!("{}; {described}; {}", program()?, processor()))
}

/// This build: its version, its file, and when that was written.
fn program() -> io::Result<String> {
    let path = std::env::current_exe()?;
    let metadata = fs::metadata(&path)?;
    let (version, size, modified) = (env!("CARGO_PKG_VERSION"), metadata.len(), metadata.modified()?);
    // Where all files get one date, this still differs.
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt;
        (metadata.ctime(), metadata.ctime_nsec())
    };
    #[cfg(not(unix))]
    let changed = ();
    Ok(format!("{version} {} {size} {modified:?} {changed:?}", path.display()))
}

/// The processor: sums are split by its instructions, caches and cores.
fn processor() -> String {
    let system = System::new_with_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()));
    let brand = system.cpus().first().map(|cpu| cpu.brand().to_owned());
    let threads = std::thread::available_parallelism().ok();
    format!("{} {brand:?} {threads:?} {:?}", std::env::consts::ARCH, instructions())
}

/// Which of the instructions there are that kernels choose by; a virtual machine may hide some.
fn instructions() -> Vec<bool> {
    #[cfg(target_arch = "x86_64")]
    return vec![
        is_x86_feature_detected!("avx2"),
        is_x86_feature_detected!("fma"),
        is_x86_feature_detected!("f16c"),
        is_x86_feature_detected!("avx512f"),
        is_x86_feature_detected!("avx512bw"),
        is_x86_feature_detected!("avx512vl"),
        is_x86_feature_detected!("avx512bf16"),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}
