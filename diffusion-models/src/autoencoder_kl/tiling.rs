//! Large images in overlapping tiles, with linear transitions between them.
//!
//! A tile's group norms see that tile only, so the result differs from the untiled one a little.
//!
//! Reference: diffusers `models/autoencoders/autoencoder_kl.py#L129` and `tiled_decode` at 0.42.1. Results are the same
//! wherever tiles are a multiple of four latent pixels wide; with others, diffusers gives images of another size.

use burn::tensor::Tensor;
use diffusion_core::tiles::Tiles;
use diffusion_core::{LatentDecoder, LatentDistribution};

use super::AutoencoderKlEncoder;

/// A tile and its neighbour share a quarter of their sides.
const OVERLAP_DIVISOR: usize = 4;

/// Decode in tiles of `tile_latent_size` latent pixels, some at once; in one piece if no side is longer.
///
/// # Shapes
/// - latents: `[batch, latent_channels, height, width]`, result: `[batch, 3, 8 height, 8 width]`
/// # Panics
/// If `tile_latent_size` is zero.
pub fn decode_tiled(
    decoder: &(impl LatentDecoder + Sync),
    latents: Tensor<4>,
    tile_latent_size: usize,
    tiles_at_once: usize,
) -> Tensor<4> {
    let overlap = tile_latent_size / OVERLAP_DIVISOR;
    let tiles = Tiles { size: tile_latent_size, overlap, at_once: tiles_at_once };
    tiles.map(latents, |tile| decoder.decode(tile))
}

/// Encode in tiles of `tile_latent_size` latent pixels; in one piece if no side is longer. Transitions are made between means and
/// between logarithms of variances.
///
/// # Shapes
/// - images: `[batch, 3, height, width]`, sides divisible by 8
/// # Panics
/// If `tile_latent_size` is zero.
pub fn encode_tiled(encoder: &AutoencoderKlEncoder, images: Tensor<4>, tile_latent_size: usize) -> LatentDistribution {
    let downscale_factor = encoder.downscale();
    let [size, overlap] = [tile_latent_size, tile_latent_size / OVERLAP_DIVISOR].map(|side| side * downscale_factor);
    let tiles = Tiles { size, overlap, at_once: 1 };
    encoder.distribution(tiles.map(images, |tile| encoder.moments(tile)))
}

#[cfg(test)]
mod tests {
    use burn::tensor::module::interpolate;
    use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
    use burn::tensor::{DType, Device, TensorData};

    use super::*;

    /// Gives every latent pixel as a square of two by two.
    struct Doubling;

    impl LatentDecoder for Doubling {
        fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
            let [_, _, height, width] = latents.dims();
            interpolate(latents, InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * height, 2 * width]))
        }
    }

    #[test]
    fn tiles_of_a_local_decoder_join_without_a_trace() {
        let device = Device::flex();
        for (height, width, tile) in [(13, 9, 8), (5, 17, 4), (4, 4, 4), (3, 10, 7), (7, 7, 2), (3, 2, 1)] {
            let values: Vec<f32> = (0..height * width).map(|i| (i * 37 % 101) as f32).collect();
            let latents = Tensor::<4>::from_data(TensorData::new(values, [1, 1, height, width]), (&device, DType::F32));
            let whole = Doubling.decode(latents.clone());
            let tiled = |at_once| decode_tiled(&Doubling, latents.clone(), tile, at_once);
            let one_by_one = tiled(1);
            let difference = (one_by_one.clone() - whole).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-4, "{height} by {width} in tiles of {tile}: {difference}");
            for at_once in [2, 3, 100] {
                assert!(tiled(at_once).into_data() == one_by_one.to_data(), "{at_once} tiles of {tile} at once");
            }
        }
    }
}
