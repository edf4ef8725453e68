//! Files and settings as people have them: read, or refused by their name before work is spent on them.

#[path = "../common/mod.rs"]
mod common;
mod extra_tensors;
#[path = "../common/fixture.rs"]
mod fixture;
mod pipeline_classes;
mod ranges;
#[path = "../common/raw_tensors.rs"]
mod raw_tensors;
mod tokenizer_files;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use common::copy_folder;
use diffusion_models::{ComponentPaths, Model, PipelineError, open_model};
use serde_json::Value;
use tempfile::TempDir;

/// A copy of a fixture's folder that a test can change.
struct Folder(TempDir);

impl Folder {
    fn copy_of(fixture: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&common::fixture(fixture), folder.path());
        Self(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn open(&self) -> Result<Box<dyn Model>, PipelineError> {
        open_model(self.0.path(), &ComponentPaths::new())
    }

    /// Set an entry of a JSON file.
    fn set(&self, file: &str, entry: &str, value: impl Into<Value>) {
        let path = self.path(file);
        let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        json[entry] = value.into();
        fs::write(path, json.to_string()).unwrap();
    }

    /// What is said of it, which must be refused.
    #[track_caller]
    fn refusal(&self) -> String {
        refusal(self.open())
    }
}

/// An error and its causes, as programs print them.
fn text(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", text(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

#[track_caller]
fn refusal(result: Result<Box<dyn Model>, PipelineError>) -> String {
    // Not `expect_err`, which would print megabytes of vocabulary.
    match result {
        Ok(model) => panic!("{} is accepted", model.info().path.display()),
        Err(error) => text(&error),
    }
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// A file in the folder of a test.
fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}
