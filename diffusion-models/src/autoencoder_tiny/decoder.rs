//! Latents to images.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, FloatDType, Tensor, assert_shape};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::ops::{self, Convolution};
use diffusion_core::weights::{check, load_into};
use diffusion_core::{LatentDecoder, Loading};

use super::block::TinyBlock;
use super::config::{AutoencoderTinyConfig, BLOCKS_PER_LEVEL, NUM_LEVELS};
use super::keys;
use crate::layers::convolution_3x3;

/// The half of a tiny autoencoder that turns latents into images.
///
/// Reference: taesd `taesd.py#L39` at 5cccb12.
#[derive(Module, Debug)]
pub struct AutoencoderTinyDecoder {
    conv_in: Conv2d,
    levels: Vec<TinyDecoderLevel>,
    last: TinyBlock,
    conv_out: Conv2d,
}

#[derive(Module, Debug)]
struct TinyDecoderLevel {
    blocks: Vec<TinyBlock>,
    upsample: Conv2d,
}

impl AutoencoderTinyDecoder {
    /// Load a file with the decoder alone, or this half of a file with both.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file does not hold exactly the weights that `config` calls for.
    pub fn load(checkpoint: Checkpoint, config: &AutoencoderTinyConfig, loading: &Loading<'_>) -> Result<Self, CheckpointError> {
        load_into(keys::decoder(checkpoint)?, Self::new(*config, loading.device), loading)
    }

    /// Whether [`load`](Self::load) can succeed, without reading a weight.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn check(checkpoint: Checkpoint, config: &AutoencoderTinyConfig, device: &Device) -> Result<(), CheckpointError> {
        check(&keys::decoder(checkpoint)?, &Self::new(*config, device))
    }

    pub(super) fn new(config: AutoencoderTinyConfig, device: &Device) -> Self {
        let channels = config.hidden_channels;
        let block = |_| TinyBlock::new(channels, device);
        let level = |_| TinyDecoderLevel {
            blocks: (0..BLOCKS_PER_LEVEL).map(block).collect(),
            upsample: convolution_3x3([channels, channels]).with_bias(false).init(device),
        };
        Self {
            conv_in: convolution_3x3([config.latent_channels, channels]).init(device),
            levels: (0..NUM_LEVELS).map(level).collect(),
            last: TinyBlock::new(channels, device),
            conv_out: convolution_3x3([channels, 3]).init(device),
        }
    }
}

impl LatentDecoder for AutoencoderTinyDecoder {
    /// Decode latents, into f32.
    fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        /// Latents are softly clamped to this, on both sides of zero.
        const MAGNITUDE: f64 = 3.0;
        let [_, latent_channels, _, _] = self.conv_in.weight.lazy_shape().dims();
        assert_shape!(latents, [_, latent_channels, _, _]);
        let compute: FloatDType = self.conv_in.weight.val().dtype().into();
        let clamped = ops::cast(latents, FloatDType::F32).div_scalar(MAGNITUDE).tanh().mul_scalar(MAGNITUDE);
        let hidden_states = Convolution::by(&self.conv_in).then_relu().forward(ops::cast(clamped, compute));
        let hidden_states = self.levels.iter().fold(hidden_states, |x, level| level.forward(x));
        let from_zero_to_one = Convolution::by(&self.conv_out).forward(self.last.forward(hidden_states));
        ops::cast(from_zero_to_one, FloatDType::F32).mul_scalar(2.0).sub_scalar(1.0)
    }
}

impl TinyDecoderLevel {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        Convolution::by(&self.upsample).of_doubled().forward(x)
    }
}
