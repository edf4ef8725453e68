//! Images to latents.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, FloatDType, Tensor, assert_shape};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::ops::{self, Convolution};
use diffusion_core::weights::load_into;
use diffusion_core::{LatentDistribution, LatentEncoder, Loading};

use super::block::TinyBlock;
use super::config::{AutoencoderTinyConfig, BLOCKS_PER_LEVEL, NUM_LEVELS};
use super::keys;
use crate::layers::convolution_3x3;

/// The half of a tiny autoencoder that turns images into latents.
///
/// Reference: taesd `taesd.py#L29` at 5cccb12.
#[derive(Module, Debug)]
pub struct AutoencoderTinyEncoder {
    conv_in: Conv2d,
    first: TinyBlock,
    levels: Vec<TinyEncoderLevel>,
    conv_out: Conv2d,
}

#[derive(Module, Debug)]
struct TinyEncoderLevel {
    downsample: Conv2d,
    blocks: Vec<TinyBlock>,
}

impl AutoencoderTinyEncoder {
    /// Load a file with the encoder alone, or this half of a file with both.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file does not hold exactly the weights that `config` calls for.
    pub fn load(checkpoint: Checkpoint, config: &AutoencoderTinyConfig, loading: &Loading<'_>) -> Result<Self, CheckpointError> {
        load_into(keys::encoder(checkpoint)?, Self::new(*config, loading.device), loading)
    }

    pub(super) fn new(config: AutoencoderTinyConfig, device: &Device) -> Self {
        let channels = config.hidden_channels;
        let block = |_| TinyBlock::new(channels, device);
        let level = |_| TinyEncoderLevel {
            downsample: convolution_3x3([channels, channels]).with_stride([2, 2]).with_bias(false).init(device),
            blocks: (0..BLOCKS_PER_LEVEL).map(block).collect(),
        };
        Self {
            conv_in: convolution_3x3([3, channels]).init(device),
            first: TinyBlock::new(channels, device),
            levels: (0..NUM_LEVELS).map(level).collect(),
            conv_out: convolution_3x3([channels, config.latent_channels]).init(device),
        }
    }
}

impl LatentEncoder for AutoencoderTinyEncoder {
    /// Encode images. The result is one point: its standard deviation is zero.
    fn encode(&self, images: Tensor<4>) -> LatentDistribution {
        assert_shape!(images, [_, 3, _, _]);
        let compute: FloatDType = self.conv_in.weight.val().dtype().into();
        let from_zero_to_one = ops::cast(images, FloatDType::F32).mul_scalar(0.5).add_scalar(0.5);
        let hidden_states = self.first.forward(Convolution::by(&self.conv_in).forward(ops::cast(from_zero_to_one, compute)));
        let hidden_states = self.levels.iter().fold(hidden_states, |x, level| level.forward(x));
        let mean = ops::cast(Convolution::by(&self.conv_out).forward(hidden_states), FloatDType::F32);
        LatentDistribution { std: mean.zeros_like(), mean }
    }
}

impl TinyEncoderLevel {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.blocks.iter().fold(Convolution::by(&self.downsample).forward(x), |x, block| block.forward(x))
    }
}
