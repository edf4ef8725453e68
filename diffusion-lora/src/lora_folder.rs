//! Folders that hold a LoRA.

use std::path::{Path, PathBuf};

/// Names under which folders hold a LoRA, as diffusers and PEFT write them.
pub(crate) const FILE_NAMES: [&str; 3] = ["pytorch_lora_weights.safetensors", "adapter_model.safetensors", "lora.safetensors"];

/// The LoRA of a folder, or the path itself: a file, or a folder that holds no LoRA.
///
/// A folder's only safetensors file is its LoRA whatever its name, as in diffusers.
pub(crate) fn file_in(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    if let Some(file) = FILE_NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file()) {
        return file;
    }
    match &safetensors_in(path)[..] {
        [only] if !names_in(path).iter().any(|name| name.ends_with(".index.json")) => path.join(only),
        _ => path.to_owned(),
    }
}

/// The names of the safetensors files in a folder, in order.
pub(crate) fn safetensors_in(folder: &Path) -> Vec<String> {
    names_in(folder).into_iter().filter(|name| name.ends_with(".safetensors")).collect()
}

/// The names in a folder, in order.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    /// Enough to tell what a folder is.
    const MOST: usize = 10_000;
    // The folder of `lora.safetensors` is called "".
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(MOST).flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
