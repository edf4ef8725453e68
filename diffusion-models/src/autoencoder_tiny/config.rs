//! Sizes of a tiny autoencoder.

/// Levels between images and latents: each halves or doubles the sides.
pub(super) const NUM_LEVELS: usize = 3;
/// Blocks at each of these levels.
pub(super) const BLOCKS_PER_LEVEL: usize = 3;

/// Sizes of a tiny autoencoder. The default is that of TAESD3 and TAEF1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoencoderTinyConfig {
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels inside.
    pub hidden_channels: usize,
}

impl Default for AutoencoderTinyConfig {
    fn default() -> Self {
        Self { latent_channels: 16, hidden_channels: 64 }
    }
}
