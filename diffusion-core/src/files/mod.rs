//! Files that people give and get: opened only if they are ordinary ones, written whole or not at all, and what they say shown
//! without harm to a terminal.

mod regular_file;
mod shown;
mod unfinished_file;

pub use regular_file::{open_regular_file, read_text};
pub use shown::{OneLine, Shown, acts};
pub use unfinished_file::{UnfinishedFile, remove_unfinished_files};
