//! Sizes of the cases, at published widths.

use diffusion_models::flux::FluxConfig;
use diffusion_models::sd3::Sd3Config;
use diffusion_models::t5::T5Config;

/// Tokens of a text of Stable Diffusion 3: 77 of CLIP and 256 of T5.
pub(crate) const SD3_TEXT_LEN: usize = 333;
pub(crate) const FLUX_TEXT_LEN: usize = 512;
pub(crate) const CLIP_LEN: usize = 77;
pub(crate) const T5_LEN: usize = 256;
/// Side of the latents of 512 x 512 pixels.
pub(crate) const LATENT_SIZE: usize = 64;
/// Side of the latents of the autoencoder's case.
pub(crate) const DECODED_SIZE: usize = 32;
/// Heads, tokens and numbers of a head of attention alone.
pub(crate) const ATTENTION: [usize; 3] = [24, 4608, 128];

pub(crate) fn sd3_medium() -> Sd3Config {
    Sd3Config { num_layers: 4, dual_attention_layers: vec![0, 1], ..with_small_table(Sd3Config::medium_3_5()) }
}

pub(crate) fn sd3_large() -> Sd3Config {
    Sd3Config { num_layers: 2, ..with_small_table(Sd3Config::large_3_5()) }
}

/// The published table of positions is half of such a file, and an image of 512 x 512 pixels takes 32 x 32 of it.
fn with_small_table(config: Sd3Config) -> Sd3Config {
    Sd3Config { position_table_size: 64, ..config }
}

pub(crate) fn flux_dev() -> FluxConfig {
    FluxConfig { num_double_layers: 1, num_single_layers: 2, ..FluxConfig::dev() }
}

pub(crate) fn t5_xxl() -> T5Config {
    T5Config { num_layers: 2, ..T5Config::xxl() }
}
