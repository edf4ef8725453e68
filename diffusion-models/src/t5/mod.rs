//! The encoder of T5 v1.1.

mod config;
mod encoder;
mod keys;
mod replacement_table;
mod tokenizer;
mod tokenizer_file;

pub use config::T5Config;
pub use encoder::T5Encoder;
pub(crate) use keys::with_transformers_names;
pub use tokenizer::T5Tokenizer;
