//! Between latents and the tokens that FLUX.1 works on. No other part knows of packing.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Device, Tensor};
use diffusion_core::ops::Rotations;

use super::config::FluxConfig;

/// Latent pixels on the side of a patch.
pub(super) const PATCH: usize = 2;
/// Base of the rotations.
const THETA: f64 = 10_000.0;

/// `[batch, channels, height, width]` to `[batch, patches, 4 * channels]`, channels slowest.
///
/// Reference: black-forest-labs/flux `sampling.py#L41` at 802fb47.
pub(super) fn pack(latents: Tensor<4>) -> Tensor<3> {
    let [batch, channels, height, width] = latents.dims();
    let (rows, columns) = (height / PATCH, width / PATCH);
    let pixels = latents.reshape([batch, channels, rows, PATCH, columns, PATCH]);
    pixels.permute([0, 2, 4, 1, 3, 5]).reshape([batch, rows * columns, channels * PATCH * PATCH])
}

/// The inverse of [`pack`], for latents of this height and width.
pub(super) fn unpack(patches: Tensor<3>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [batch, _, values] = patches.dims();
    let channels = values / (PATCH * PATCH);
    let pixels = patches.reshape([batch, height / PATCH, width / PATCH, channels, PATCH, PATCH]);
    pixels.permute([0, 3, 1, 4, 2, 5]).reshape([batch, channels, height, width])
}

/// Rotations of all tokens: the text's at the origin, then the patches by row and column.
fn positions(config: &FluxConfig, text_len: usize, height: usize, width: usize, device: &Device) -> Rotations {
    let (rows, columns) = (height / PATCH, width / PATCH);
    let text = std::iter::repeat_n([0; 3], text_len);
    let patches = (0..rows).flat_map(|row| (0..columns).map(move |column| [0, row, column]));
    let positions: Vec<[usize; 3]> = text.chain(patches).collect();
    Rotations::new(&positions, &config.rope_dims, THETA, device)
}

/// The rotations of the size that was drawn last: all steps of a run have the same.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownPositions(Arc<Mutex<Option<OfSize>>>);

#[derive(Debug)]
struct OfSize {
    /// Text tokens, height and width.
    size: [usize; 3],
    device: Device,
    rotations: Rotations,
}

impl KnownPositions {
    /// [`positions`].
    pub(super) fn of(&self, config: &FluxConfig, text_len: usize, height: usize, width: usize, device: &Device) -> Rotations {
        let size = [text_len, height, width];
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| known.size == size && known.device == *device) {
            return known.rotations.clone();
        }
        let rotations = positions(config, text_len, height, width, device);
        *known = Some(OfSize { size, device: device.clone(), rotations: rotations.clone() });
        rotations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Int;

    #[test]
    fn unpacking_undoes_packing_and_channels_are_slowest() {
        let latents = Tensor::<1, Int>::arange(0..2 * 3 * 4 * 6, &Device::flex()).float().reshape([2, 3, 4, 6]);
        let packed = pack(latents.clone());
        assert_eq!(packed.dims(), [2, 6, 12]);
        let first: Vec<f32> = packed.clone().slice([0..1, 0..1, 0..5]).into_data().iter::<f32>().collect();
        assert_eq!(first, [0.0, 1.0, 6.0, 7.0, 24.0]);
        unpack(packed, [4, 6]).into_data().assert_eq(&latents.into_data(), true);
    }
}
