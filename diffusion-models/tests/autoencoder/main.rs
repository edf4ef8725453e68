//! Autoencoders against diffusers. References and weights: `tests/generators/autoencoder.py`.

mod autoencoder_kl;
mod autoencoder_tiny;
#[path = "../common/mod.rs"]
mod common;

/// Both sides compute in f32 and sum in different orders.
const TOLERANCE: f64 = 1e-4;
