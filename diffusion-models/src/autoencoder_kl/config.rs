//! Sizes of an autoencoder, and the scale of its latents.

use std::path::Path;

use diffusion_core::checkpoint::Checkpoint;
use serde::Deserialize;

use super::keys::Layout;
use diffusion_core::config::{ConfigError, read_json, require_layers, require_number, require_sizes};

/// Sizes of an autoencoder, and the scale of its latents.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderKlConfig {
    /// Channels at each level of resolution, finest first. Each level halves the sides of the one before.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Factor that brings latents to about unit variance.
    pub scaling_factor: f64,
    /// Mean of the latents, taken off before scaling.
    pub shift_factor: f64,
    /// Side, in pixels, of the images it was trained on; the size of tiles where nothing else is asked for.
    pub sample_size: usize,
}

/// The fields of diffusers' `config.json`, with the defaults that diffusers has for the ones that files leave out.
#[derive(Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "these are the fields of diffusers' file")]
struct Json {
    #[serde(rename = "_class_name")]
    class_name: String,
    act_fn: String,
    block_out_channels: Vec<usize>,
    in_channels: usize,
    latent_channels: usize,
    latents_mean: Option<Vec<f64>>,
    layers_per_block: usize,
    mid_block_add_attention: bool,
    norm_num_groups: usize,
    out_channels: usize,
    sample_size: usize,
    scaling_factor: f64,
    shift_factor: Option<f64>,
    use_post_quant_conv: bool,
    use_quant_conv: bool,
}

impl Default for Json {
    /// Reference: diffusers `models/autoencoders/autoencoder_kl.py#L75` at 0.42.1.
    fn default() -> Self {
        Self {
            class_name: AutoencoderKlConfig::CLASS.to_owned(),
            act_fn: "silu".to_owned(),
            block_out_channels: vec![64],
            in_channels: 3,
            latent_channels: 4,
            latents_mean: None,
            layers_per_block: 1,
            mid_block_add_attention: true,
            norm_num_groups: 32,
            out_channels: 3,
            sample_size: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            use_post_quant_conv: true,
            use_quant_conv: true,
        }
    }
}

impl AutoencoderKlConfig {
    const CLASS: &str = "AutoencoderKL";

    /// The autoencoder of Stable Diffusion 3 and 3.5.
    ///
    /// Reference: sd3.5 `sd3_impls.py#L274`, `#L545`.
    pub fn sd3() -> Self {
        Self {
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            latent_channels: 16,
            norm_num_groups: 32,
            scaling_factor: 1.5305,
            shift_factor: 0.0609,
            sample_size: 1024,
        }
    }

    /// The autoencoder of FLUX.1.
    ///
    /// Reference: flux `util.py#L318` at 802fb47.
    pub fn flux() -> Self {
        Self { scaling_factor: 0.3611, shift_factor: 0.1159, ..Self::sd3() }
    }

    /// Read diffusers' `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, or describes what this implementation does not have: quantization
    /// convolutions (`use_quant_conv`), other activations than `silu`, no attention in the middle.
    pub fn from_diffusers_json(path: &Path) -> Result<Self, ConfigError> {
        let json: Json = read_json(path)?;
        json.require_supported(path)?;
        let config = Self {
            block_out_channels: json.block_out_channels,
            layers_per_block: json.layers_per_block,
            latent_channels: json.latent_channels,
            norm_num_groups: json.norm_num_groups,
            scaling_factor: json.scaling_factor,
            shift_factor: json.shift_factor.unwrap_or(0.0),
            sample_size: json.sample_size,
        };
        config.validated(path)
    }

    /// The same scale of latents and groups of norms, and the sizes that a checkpoint in either layout has.
    ///
    /// The numbers that stay cannot be told from a checkpoint: SD3's and FLUX.1's autoencoders have the same shapes.
    ///
    /// # Errors
    /// [`ConfigError`] if the checkpoint holds no encoder of this kind, or channels that do not form
    /// [`norm_num_groups`](Self::norm_num_groups) groups.
    pub fn sized_as(self, checkpoint: &Checkpoint) -> Result<Self, ConfigError> {
        let layout = Layout::of(checkpoint);
        let size = |name: &str| checkpoint.shape(name).and_then(|shape| shape.first().copied());
        let level = |i| size(&layout.encoder_convolution(i, 0));
        let block = |j| size(&layout.encoder_convolution(0, j));
        let moments = size("encoder.conv_out.weight").unwrap_or(0);
        let config = Self {
            block_out_channels: (0..).map_while(level).collect(),
            layers_per_block: (0..).map_while(block).count(),
            latent_channels: moments / 2,
            ..self
        };
        config.validated(checkpoint.path())
    }

    /// Pixels along one side of a latent pixel: 8 for all published models.
    pub fn downscale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Side, in latent pixels, of the tiles that diffusers cuts latents into.
    pub fn tile_latent_size(&self) -> usize {
        self.sample_size / self.downscale()
    }

    fn validated(self, path: &Path) -> Result<Self, ConfigError> {
        /// More would not fit the sides of any image.
        const MOST_LEVELS: usize = 16;
        let groups = self.norm_num_groups;
        let grouped = |&channels: &usize| channels > 0 && groups > 0 && channels % groups == 0;
        let unsupported = |field, expected, found: String| Err(ConfigError::unsupported(path, field, expected, found));
        if !(1..=MOST_LEVELS).contains(&self.block_out_channels.len()) {
            unsupported("block_out_channels", "one to sixteen levels", format!("{:?}", self.block_out_channels))
        } else if !self.block_out_channels.iter().all(grouped) {
            unsupported(
                "norm_num_groups",
                "a divisor of all levels' channels",
                format!("{groups} for {:?}", self.block_out_channels),
            )
        } else if self.tile_latent_size() == 0 {
            unsupported("sample_size", "at least the side of a latent pixel", self.sample_size.to_string())
        } else {
            let widest = self.block_out_channels.iter().copied().max().unwrap_or(0);
            require_layers(path, [("layers_per_block", self.layers_per_block)])?;
            let channels = [("block_out_channels", widest), ("latent_channels", self.latent_channels)];
            require_sizes(path, channels)?;
            require_sizes(path, [("sample_size", self.sample_size), ("norm_num_groups", groups)])?;
            require_number(path, "scaling_factor", self.scaling_factor, 1e-3..=1e3)?;
            require_number(path, "shift_factor", self.shift_factor, -1e3..=1e3)?;
            Ok(self)
        }
    }
}

impl Json {
    fn require_supported(&self, path: &Path) -> Result<(), ConfigError> {
        let names = [("_class_name", &self.class_name, AutoencoderKlConfig::CLASS), ("act_fn", &self.act_fn, "silu")];
        let switches = [
            ("mid_block_add_attention", self.mid_block_add_attention, true),
            ("use_post_quant_conv", self.use_post_quant_conv, false),
            ("use_quant_conv", self.use_quant_conv, false),
        ];
        let channels = [("in_channels", self.in_channels), ("out_channels", self.out_channels)];
        if let Some((field, found, expected)) = names.into_iter().find(|(_, found, expected)| found != expected) {
            Err(ConfigError::unsupported(path, field, expected, found))
        } else if let Some((field, found, expected)) = switches.into_iter().find(|(_, found, expected)| found != expected) {
            Err(ConfigError::unsupported(path, field, expected, found))
        } else if let Some((field, found)) = channels.into_iter().find(|&(_, found)| found != 3) {
            Err(ConfigError::unsupported(path, field, 3, found))
        } else if self.latents_mean.is_some() {
            Err(ConfigError::unsupported(path, "latents_mean", "null: one scale for all channels", "one per channel"))
        } else {
            Ok(())
        }
    }
}
