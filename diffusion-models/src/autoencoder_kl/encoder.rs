//! Images to latents.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{GroupNorm, PaddingConfig2d};
use burn::tensor::{Device, FloatDType, Tensor, assert_shape};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::ops::{self, Convolution, Products};
use diffusion_core::weights::load_into;
use diffusion_core::{LatentDistribution, LatentEncoder, Loading};

use super::blocks::{Middle, ResidualBlock, ResidualBlockConfig, group_norm};
use super::config::AutoencoderKlConfig;
use super::latent_scale::LatentScale;
use crate::layers::convolution_3x3;

/// The half of an autoencoder that turns images into latents.
///
/// Reference: sd3.5 `sd3_impls.py#L555`; diffusers `models/autoencoders/vae.py` `Encoder`.
#[derive(Module, Debug)]
pub struct AutoencoderKlEncoder {
    /// From RGB to the channels of the finest level.
    pub conv_in: Conv2d,
    /// Finest first.
    pub levels: Vec<EncoderLevel>,
    /// At the coarsest level.
    pub middle: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    scale: LatentScale,
}

/// Blocks at one resolution, and the way to the next coarser one.
#[derive(Module, Debug)]
pub struct EncoderLevel {
    blocks: Vec<ResidualBlock>,
    /// At all levels but the coarsest.
    downsample: Option<Conv2d>,
}

impl AutoencoderKlEncoder {
    /// Load this half of a checkpoint; see [`AutoencoderKl::load`](super::AutoencoderKl::load).
    ///
    /// # Errors
    /// [`CheckpointError`] if the file is not a whole autoencoder of this configuration, the decoder included.
    /// # Panics
    /// See [`AutoencoderKlConfig::init`].
    pub fn load(checkpoint: Checkpoint, config: &AutoencoderKlConfig, loading: &Loading<'_>) -> Result<Self, CheckpointError> {
        let (whole, checkpoint) = config.init_for(checkpoint, loading.device)?;
        load_into(checkpoint.under("encoder."), whole.encoder, loading)
    }

    /// Make the encoder, without allocating.
    pub(super) fn new(config: &AutoencoderKlConfig, device: &Device) -> Self {
        let channels = &config.block_out_channels;
        let (finest, coarsest) = (channels[0], channels[channels.len() - 1]);
        let level = |i: usize| {
            let first = ResidualBlockConfig {
                channels_in: channels[i.saturating_sub(1)],
                channels_out: channels[i],
                num_groups: config.norm_num_groups,
            };
            EncoderLevel {
                blocks: first.init_many(config.layers_per_block, device),
                downsample: (i + 1 < channels.len()).then(|| downsampling(channels[i], device)),
            }
        };
        Self {
            conv_in: convolution_3x3([3, finest]).init(device),
            levels: (0..channels.len()).map(level).collect(),
            middle: Middle::new(coarsest, config.norm_num_groups, device),
            norm_out: group_norm(config.norm_num_groups, coarsest, device),
            conv_out: convolution_3x3([coarsest, 2 * config.latent_channels]).init(device),
            scale: LatentScale::of(config),
        }
    }

    /// Mean and logarithm of the variance, as the network gives them: not scaled, the logarithm not clamped.
    ///
    /// # Shapes
    /// - images: `[batch, 3, height, width]`, RGB in [-1, 1]
    /// - result: `[batch, 2 latent_channels, height / 8, width / 8]`, f32
    /// # Panics
    /// If `images` has not three channels.
    pub fn moments(&self, images: Tensor<4>) -> Tensor<4> {
        assert_shape!(images, [_, 3, _, _]);
        let compute: FloatDType = self.conv_in.weight.val().dtype().into();
        let hidden_states = Convolution::by(&self.conv_in).forward(ops::cast(images, compute));
        let hidden_states = self.levels.iter().fold(hidden_states, |x, level| level.forward(x));
        let hidden_states = self.middle.forward(hidden_states, Products::Exact);
        let moments = Convolution::by(&self.conv_out).after_silu_of(&self.norm_out).forward(hidden_states);
        ops::cast(moments, FloatDType::F32)
    }

    /// The distribution that [`moments`](Self::moments) describe, in the scale of the denoising network.
    ///
    /// Reference: diffusers `models/autoencoders/vae.py` `DiagonalGaussianDistribution`.
    ///
    /// # Shapes
    /// - moments: `[batch, 2 latent_channels, height, width]`
    pub fn distribution(&self, moments: Tensor<4>) -> LatentDistribution {
        const LOG_VARIANCE_RANGE: (f64, f64) = (-30.0, 20.0);
        let (least, most) = LOG_VARIANCE_RANGE;
        let [mean, log_variance] = moments.chunk(2, 1).try_into().unwrap_or_else(|_| unreachable!("two halves"));
        LatentDistribution {
            mean: self.scale.scaled(mean),
            std: log_variance.clamp(least, most).mul_scalar(0.5).exp().mul_scalar(self.scale.factor),
        }
    }

    /// Pixels along one side of a latent pixel.
    pub(super) fn downscale(&self) -> usize {
        1 << (self.levels.len() - 1)
    }
}

impl LatentEncoder for AutoencoderKlEncoder {
    fn encode(&self, images: Tensor<4>) -> LatentDistribution {
        self.distribution(self.moments(images))
    }
}

impl EncoderLevel {
    /// Apply the blocks, then halve the sides.
    ///
    /// # Shapes
    /// - x: `[batch, channels_in, height, width]`, result: `[batch, channels_out, height / 2, width / 2]`, or of the same
    ///   height and width at the coarsest level
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, Products::Exact));
        match &self.downsample {
            Some(downsample) => Convolution::by(downsample).forward(x),
            None => x,
        }
    }
}

/// Halves the sides; zeros are added on the right and at the bottom only.
fn downsampling(channels: usize, device: &Device) -> Conv2d {
    let below_and_right = PaddingConfig2d::Explicit(0, 0, 1, 1);
    convolution_3x3([channels, channels]).with_stride([2, 2]).with_padding(below_and_right).init(device)
}
