use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why a tokenizer could not be made or a text not be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file that the tokenizer needs is not there.
    #[error("{}: expected {expected}, found no such file; {advice}", .path.display())]
    Missing {
        /// The file that was looked for.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What to do about it.
        advice: &'static str,
    },
    /// A file is there but cannot be read.
    #[error("{}: cannot be read as text; check that it is complete, and its permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not have the form it should have.
    #[error("{}: expected {expected}, found something else; fetch the file again", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The form it should have.
        expected: &'static str,
        /// What the parser said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file has the right form but something in it contradicts another file or the model family.
    #[error("{}: {item}: expected {expected}, found {found}; check that the files belong to one model", .path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// The part of the file in question.
        item: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The requested length does not hold even the special tokens, or is longer than any text encoder takes.
    #[error("expected a length of {minimum} to {maximum} tokens, found {length}")]
    Length {
        /// The requested length.
        length: usize,
        /// The number of special tokens around the text.
        minimum: usize,
        /// More than any text encoder takes.
        maximum: usize,
    },
    /// The tokenizer failed on a text.
    #[error("the text cannot be tokenized; this is a defect of the tokenizer, not of the text")]
    Encode {
        /// What the tokenizer said.
        source: Box<dyn Error + Send + Sync>,
    },
}
