//! CLIP: its tokenizer.

mod tokenizer;

pub use tokenizer::ClipTokenizer;
