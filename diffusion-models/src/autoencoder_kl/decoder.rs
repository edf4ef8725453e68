//! Latents to images.

use burn::module::Module;
use burn::nn::GroupNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, FloatDType, Tensor, assert_shape};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::ops::{self, Convolution, Products};
use diffusion_core::weights::load_into;
use diffusion_core::{LatentDecoder, Loading};

use super::blocks::{Middle, ResidualBlock, ResidualBlockConfig, group_norm};
use super::config::AutoencoderKlConfig;
use super::latent_scale::LatentScale;
use crate::layers::convolution_3x3;

/// The half of an autoencoder that turns latents into images.
///
/// Reference: sd3.5 `sd3_impls.py#L653`; diffusers `models/autoencoders/vae.py` `Decoder`.
#[derive(Module, Debug)]
pub struct AutoencoderKlDecoder {
    /// From the channels of latents to those of the coarsest level.
    pub conv_in: Conv2d,
    /// At the coarsest level.
    pub middle: Middle,
    /// Coarsest first.
    pub levels: Vec<DecoderLevel>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    scale: LatentScale,
    #[module(skip)]
    products: Products,
}

/// Blocks at one resolution, and the way to the next finer one.
#[derive(Module, Debug)]
pub struct DecoderLevel {
    blocks: Vec<ResidualBlock>,
    /// Applied to enlarged images, at all levels but the finest.
    upsample: Option<Conv2d>,
}

impl AutoencoderKlDecoder {
    /// Load this half of a checkpoint; see [`AutoencoderKl::load`](super::AutoencoderKl::load).
    ///
    /// # Errors
    /// [`CheckpointError`] if the file is not a whole autoencoder of this configuration, the encoder included.
    /// # Panics
    /// See [`AutoencoderKlConfig::init`].
    pub fn load(checkpoint: Checkpoint, config: &AutoencoderKlConfig, loading: &Loading<'_>) -> Result<Self, CheckpointError> {
        let (whole, checkpoint) = config.init_for(checkpoint, loading.device)?;
        let decoder = load_into(checkpoint.under("decoder."), whole.decoder, loading)?;
        Ok(Self { products: loading.precision.products, ..decoder })
    }

    /// Make the decoder, without allocating.
    pub(super) fn new(config: &AutoencoderKlConfig, device: &Device) -> Self {
        let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let (coarsest, finest) = (channels[0], channels[channels.len() - 1]);
        let level = |i: usize| {
            let first = ResidualBlockConfig {
                channels_in: channels[i.saturating_sub(1)],
                channels_out: channels[i],
                num_groups: config.norm_num_groups,
            };
            let upsampling = || convolution_3x3([channels[i], channels[i]]).init(device);
            DecoderLevel {
                blocks: first.init_many(config.layers_per_block + 1, device),
                upsample: (i + 1 < channels.len()).then(upsampling),
            }
        };
        Self {
            conv_in: convolution_3x3([config.latent_channels, coarsest]).init(device),
            middle: Middle::new(coarsest, config.norm_num_groups, device),
            levels: (0..channels.len()).map(level).collect(),
            norm_out: group_norm(config.norm_num_groups, finest, device),
            conv_out: convolution_3x3([finest, 3]).init(device),
            scale: LatentScale::of(config),
            products: Products::Exact,
        }
    }
}

impl LatentDecoder for AutoencoderKlDecoder {
    /// Decode latents, into f32.
    fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let [_, latent_channels, _, _] = self.conv_in.weight.lazy_shape().dims();
        assert_shape!(latents, [_, latent_channels, _, _]);
        let unscaled = self.scale.unscaled(ops::cast(latents, FloatDType::F32));
        let compute: FloatDType = self.conv_in.weight.val().dtype().into();
        let hidden_states = Convolution::by(&self.conv_in).forward(ops::cast(unscaled, compute));
        let hidden_states = self.middle.forward(hidden_states, self.products);
        let hidden_states = self.levels.iter().fold(hidden_states, |x, level| level.forward(x, self.products));
        let images = Convolution::by(&self.conv_out).after_silu_of(&self.norm_out).forward(hidden_states);
        ops::cast(images, FloatDType::F32)
    }
}

impl DecoderLevel {
    /// Apply the blocks, then double the sides.
    ///
    /// # Shapes
    /// - x: `[batch, channels_in, height, width]`, result: `[batch, channels_out, 2 height, 2 width]`, or of the same
    ///   height and width at the finest level
    pub fn forward(&self, x: Tensor<4>, products: Products) -> Tensor<4> {
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, products));
        match &self.upsample {
            Some(upsample) => Convolution::by(upsample).of_doubled().with_products(products).forward(x),
            None => x,
        }
    }
}
