//! T5: its tokenizer.

mod tokenizer;

pub use tokenizer::T5Tokenizer;
