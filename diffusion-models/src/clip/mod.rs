//! The text encoders of CLIP: CLIP-L (OpenAI) and CLIP-G (OpenCLIP bigG).

mod config;
mod encoder;
mod keys;
mod tokenizer;

pub use config::{ClipActivation, ClipConfig, EndOfText};
pub use encoder::ClipTextEncoder;
pub use tokenizer::ClipTokenizer;
