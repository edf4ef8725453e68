//! Stable Diffusion 3 and 3.5 on [Burn](burn): text encoders, transformer, autoencoders, and the pipeline that joins them.

pub mod clip;
pub mod config;
pub(crate) mod layers;
pub mod sd3;
pub mod t5;
pub mod tokenizer;
