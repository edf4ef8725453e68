//! Denoising networks: what they compute from, how their blocks are run, and what may look on.
//!
//! The room knows no model. `diffusion-models` has the networks; a pipeline and a trainer are two users of them.

#[cfg(feature = "autodiff")]
mod block_gradients;
pub mod block_network;
mod captured_blocks;
mod captured_network;
mod conditioning;
mod denoiser;
mod denoiser_input;
mod modulation_layer;
mod modulations;
mod not_finite;

#[cfg(feature = "autodiff")]
pub use block_gradients::{BlockGradients, GradientOptions, TrainedParameters, block_gradients};
pub use captured_blocks::NotCaptured;
pub use captured_network::boxed_denoiser;
pub use conditioning::Conditioning;
pub use denoiser::Denoiser;
pub use denoiser_input::DenoiserInput;
pub use modulations::Modulations;
pub use not_finite::{FirstNotFinite, is_finite};
