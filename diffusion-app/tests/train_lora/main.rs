//! The program that trains LoRAs as a user meets it: files, sample pictures, and words about what is wrong.

mod batches;
mod outputs;
mod refusals;
mod resume;
mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

/// A short run on the miniature.
const SMALL: &[&str] = &["--data", "pictures", "--resolution", "64", "--rank", "2", "--learning-rate", "1e-2", "--quiet"];

/// A folder to train in.
struct Folder(TempDir);

impl Folder {
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With four pictures and captions.
    fn with_pictures() -> Self {
        let folder = Self::empty();
        for (name, size) in [("a", [64, 64]), ("b", [64, 64]), ("c", [64, 64]), ("d", [96, 64])] {
            folder.picture(name, size);
            folder.text(&format!("pictures/{name}.txt"), &format!("a picture of {name}"));
        }
        folder
    }

    fn picture(&self, name: &str, [width, height]: [u32; 2]) {
        let tone = name.bytes().fold(7_u8, |tone, byte| tone.wrapping_mul(31).wrapping_add(byte));
        let pixel = |x: u32, y: u32| Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, tone]);
        RgbImage::from_fn(width, height, pixel).save(self.new_path(&format!("pictures/{name}.png"))).unwrap();
    }

    fn text(&self, name: &str, text: &str) {
        fs::write(self.new_path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A path whose folder is there.
    fn new_path(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Names of what is in it, besides pictures and what is encoded of them.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.filter(|name| name != "pictures" && name != "cache").collect();
        names.sort();
        names
    }

    /// A program that runs in it.
    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.0).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
        command
    }

    fn train_lora(&self, arguments: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_train-lora"), arguments)
    }

    /// Train, and fail unless that succeeds; what was said.
    #[track_caller]
    fn train(&self, arguments: &[&str]) -> String {
        let output = self.train_lora(arguments).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    }

    /// Fails unless the program refuses, in words that contain all of `words`, without a panic; what was said.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], words: &[&str]) -> String {
        let output = self.train_lora(arguments).output().unwrap();
        let said = said(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{}: {said}", output.status);
        assert!(said.contains("error: ") && !said.contains("panicked"), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        said
    }

    /// The lines of the log.
    fn log(&self, name: &str) -> Vec<Value> {
        let text = String::from_utf8(self.bytes(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// All tensors of a file of f32.
fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let numbers = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    SafeTensors::deserialize(&bytes).unwrap().iter().map(|(name, view)| (name.to_owned(), numbers(view.data()))).collect()
}

fn fixture(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path).to_str().unwrap().to_owned()
}
