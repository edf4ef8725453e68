//! The LoRAs of a folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::lora_entry::LoraEntry;

/// Folders in folders that are looked into.
const DEEPEST: usize = 4;
/// LoRAs that a list holds at most.
const MOST: usize = 10_000;

/// The LoRAs of a folder, by name.
#[derive(Debug, Default)]
pub struct LoraList {
    folder: Option<PathBuf>,
    entries: RwLock<BTreeMap<String, Arc<LoraEntry>>>,
}

impl LoraList {
    /// The LoRAs of a folder, if there is one.
    pub fn open(folder: Option<PathBuf>) -> Self {
        let list = Self { folder, entries: RwLock::default() };
        list.rescan();
        list
    }

    /// Look into the folder again. Files that are as they were stay open.
    pub fn rescan(&self) {
        let Some(folder) = &self.folder else { return };
        let mut paths = Vec::new();
        find_files(folder, DEEPEST, &mut paths);
        let before = self.snapshot();
        let found = paths.into_iter().take(MOST).filter_map(|path| {
            let name = name_of(folder, &path)?;
            let metadata = path.metadata().ok()?;
            let (bytes, modified) = (metadata.len(), metadata.modified().ok()?);
            let same = before.get(&name).filter(|old| (old.bytes, old.modified, &old.path) == (bytes, modified, &path));
            let entry = same.cloned().unwrap_or_else(|| Arc::new(LoraEntry::open(name.clone(), path, bytes, modified)));
            Some((name, entry))
        });
        let found = found.collect();
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// All LoRAs, in the order of their names.
    pub fn all(&self) -> Vec<Arc<LoraEntry>> {
        self.snapshot().into_values().collect()
    }

    /// The LoRA of this name; case does not count where only one name fits, nor does the extension.
    pub fn find(&self, name: &str) -> Option<Arc<LoraEntry>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let bare = EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension)?.strip_suffix('.')).unwrap_or(name);
        if let Some(entry) = entries.get(name).or_else(|| entries.get(bare)) {
            return Some(entry.clone());
        }
        let mut same = entries.values().filter(|entry| entry.name.eq_ignore_ascii_case(bare));
        same.next().filter(|_| same.next().is_none()).cloned()
    }

    /// What tells the contents of a LoRA's file from all others.
    ///
    /// # Errors
    /// A sentence if it is no longer there, or cannot be read.
    pub(crate) fn digest(&self, name: &str) -> Result<String, String> {
        let entry = self.find(name).ok_or_else(|| format!("the LoRA \"{name}\" is no longer there"))?;
        entry.digest().map(str::to_owned).map_err(|error| format!("the LoRA \"{name}\" cannot be read: {error}"))
    }

    fn snapshot(&self) -> BTreeMap<String, Arc<LoraEntry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

const EXTENSIONS: [&str; 2] = ["safetensors", "gguf"];

fn find_files(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if depth > 0 {
                find_files(&path, depth - 1, found);
            }
        } else if path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known)) {
            found.push(path);
        }
    }
}

/// Path in the folder without the extension, with slashes on every system; `None` if it is no text.
fn name_of(folder: &Path, path: &Path) -> Option<String> {
    let bare = path.strip_prefix(folder).ok()?.with_extension("");
    let parts: Option<Vec<&str>> = bare.iter().map(|part| part.to_str()).collect();
    Some(parts?.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_by_their_paths_and_found_by_sloppy_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("people")).unwrap();
        for name in ["Style.safetensors", "people/anna.v2.safetensors", "notes.txt"] {
            fs::write(folder.path().join(name), "no LoRA").unwrap();
        }
        let list = LoraList::open(Some(folder.path().to_owned()));
        let names: Vec<String> = list.all().iter().map(|entry| entry.name.clone()).collect();
        assert_eq!(names, ["Style", "people/anna.v2"]);
        for name in ["style", "Style", "STYLE.safetensors"] {
            assert_eq!(list.find(name).map(|entry| entry.name.clone()), Some("Style".to_owned()), "{name}");
        }
        for name in ["notes", "../Style", "people", "/etc/passwd", ""] {
            assert!(list.find(name).is_none(), "{name}");
        }
        assert!(list.find("Style").unwrap().lora().is_err());
    }
}
