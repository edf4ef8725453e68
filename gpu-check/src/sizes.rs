//! How large the cases are.

use diffusion_core::format::Format;
use diffusion_models::flux::FluxConfig;
use diffusion_models::sd3::Sd3Config;

/// How large the cases are.
pub(crate) struct Sizes {
    /// Pixels on a side of the image whose step is timed.
    pub(crate) side: usize,
    /// A FLUX.1 of one double and one single block.
    pub(crate) flux: FluxConfig,
    /// A Stable Diffusion 3.5 Large of two blocks, the last of which does less with its text.
    pub(crate) sd3: Sd3Config,
    /// Runs whose median counts.
    pub(crate) runs: usize,
    /// Formats of weights whose products are compared.
    pub(crate) formats: &'static [Format],
}

impl Sizes {
    /// Published widths at 1024 x 1024 pixels.
    pub(crate) fn published() -> Self {
        Self {
            side: 1024,
            flux: FluxConfig { num_double_layers: 1, num_single_layers: 1, ..FluxConfig::dev() },
            sd3: Sd3Config { num_layers: 2, ..Sd3Config::large_3_5() },
            runs: 7,
            formats: &[
                Format::F32,
                Format::F16,
                Format::BF16,
                Format::F8E4M3,
                Format::F8E5M2,
                Format::Q8_0,
                Format::Q4_0,
                Format::Q5_1,
                Format::Q4K,
                Format::Q6K,
            ],
        }
    }

    /// A fraction of the widths at 128 x 128 pixels.
    pub(crate) fn quick() -> Self {
        let published = Self::published();
        Self {
            side: 128,
            flux: FluxConfig { num_heads: 2, joint_attention_dim: 256, pooled_projection_dim: 64, ..published.flux },
            sd3: Sd3Config {
                num_heads: 3,
                joint_attention_dim: 256,
                pooled_projection_dim: 64,
                position_table_size: 32,
                ..published.sd3
            },
            runs: 1,
            formats: &[Format::F32, Format::BF16, Format::F8E4M3, Format::Q8_0, Format::Q4_0, Format::Q4K],
        }
    }

    /// Tokens of the image: one for each 16 x 16 pixels.
    pub(crate) fn image_tokens(&self) -> usize {
        (self.side / 16).pow(2)
    }
}
