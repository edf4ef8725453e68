//! diffusion-models

pub mod clip;
pub mod t5;
pub mod tokenizer;
