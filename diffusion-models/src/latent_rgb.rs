//! Previews that cost nothing: colours as sums of latent channels.

use burn::tensor::{Device, Tensor};
use diffusion_core::image::RgbImage;

/// Channels of the latents of Stable Diffusion 3 and FLUX.1.
const CHANNELS: usize = 16;

/// A linear map from latents to colours, a pixel for each latent cell: shape and light without detail.
///
/// Meant for [`SamplerStep::denoised`](diffusion_core::SamplerStep::denoised), the picture that the network believes in.
///
/// Reference: `ComfyUI` `comfy/latent_formats.py#L118-L172` at a125cd8, whose factors were fitted to pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentRgb {
    /// Red, green and blue of each channel, for colours in [-1, 1].
    pub factors: [[f32; 3]; CHANNELS],
    /// Red, green and blue of latents that are zero.
    pub bias: [f32; 3],
}

impl LatentRgb {
    /// The map for Stable Diffusion 3 and 3.5.
    pub const SD3: Self = Self {
        factors: [
            [-0.0922, -0.0175, 0.0749],
            [0.0311, 0.0633, 0.0954],
            [0.1994, 0.0927, 0.0458],
            [0.0856, 0.0339, 0.0902],
            [0.0587, 0.0272, -0.0496],
            [-0.0006, 0.1104, 0.0309],
            [0.0978, 0.0306, 0.0427],
            [-0.0042, 0.1038, 0.1358],
            [-0.0194, 0.0020, 0.0669],
            [-0.0488, 0.0130, -0.0268],
            [0.0922, 0.0988, 0.0951],
            [-0.0278, 0.0524, -0.0542],
            [0.0332, 0.0456, 0.0895],
            [-0.0069, -0.0030, -0.0810],
            [-0.0596, -0.0465, -0.0293],
            [-0.1448, -0.1463, -0.1189],
        ],
        bias: [0.2394, 0.2135, 0.1925],
    };

    /// The map for FLUX.1.
    pub const FLUX: Self = Self {
        factors: [
            [-0.0346, 0.0244, 0.0681],
            [0.0034, 0.0210, 0.0687],
            [0.0275, -0.0668, -0.0433],
            [-0.0174, 0.0160, 0.0617],
            [0.0859, 0.0721, 0.0329],
            [0.0004, 0.0383, 0.0115],
            [0.0405, 0.0861, 0.0915],
            [-0.0236, -0.0185, -0.0259],
            [-0.0245, 0.0250, 0.1180],
            [0.1008, 0.0755, -0.0421],
            [-0.0515, 0.0201, 0.0011],
            [0.0428, -0.0012, -0.0036],
            [0.0817, 0.0765, 0.0749],
            [-0.1264, -0.0522, -0.1103],
            [-0.0280, -0.0881, -0.0499],
            [-0.1262, -0.0982, -0.0778],
        ],
        bias: [-0.0329, -0.0718, -0.0851],
    };

    /// The pictures of latents, a pixel for each cell.
    ///
    /// # Shapes
    /// - latents: `[batch, 16, height, width]`, as the network sees them
    /// # Panics
    /// If there are other than 16 channels.
    pub fn pictures(&self, latents: Tensor<4>) -> Vec<RgbImage> {
        let [batch, channels, height, width] = latents.dims();
        assert_eq!(channels, CHANNELS, "colours are known of latents with {CHANNELS} channels");
        let device: Device = latents.device();
        let factors = Tensor::<2>::from_floats(self.factors, &device);
        let bias = Tensor::<1>::from_floats(self.bias, &device).reshape([1, 3, 1, 1]);
        let cells = latents.permute([0, 2, 3, 1]).reshape([batch * height * width, CHANNELS]);
        let colors = cells.matmul(factors).reshape([batch, height, width, 3]).permute([0, 3, 1, 2]);
        RgbImage::from_tensor(colors + bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Channel 2 of Stable Diffusion 3 at one: 0.1994 + 0.2394 = 0.4388 in red, and so on.
    #[test]
    fn colours_are_sums_of_channels() {
        let device = Device::flex();
        let mut latents = Tensor::<4>::zeros([2, CHANNELS, 1, 2], &device);
        latents = latents.slice_assign([1..2, 2..3, 0..1, 1..2], Tensor::ones([1, 1, 1, 1], &device));
        let pictures = LatentRgb::SD3.pictures(latents);
        let level = |x: f32| (f32::midpoint(x, 1.0) * 255.0).round() as u8;
        let [zero, one] = [[0.2394, 0.2135, 0.1925], [0.4388, 0.3062, 0.2383]].map(|color| color.map(level));
        assert_eq!((pictures[0].width, pictures[0].height), (2, 1));
        assert_eq!(pictures[0].pixels, [zero, zero].concat());
        assert_eq!(pictures[1].pixels, [zero, one].concat());
    }

    #[test]
    fn the_factors_are_those_of_the_reference() {
        let sum = |map: LatentRgb| map.factors.iter().flatten().chain(&map.bias).map(|&x| f64::from(x)).sum::<f64>();
        assert!((sum(LatentRgb::SD3) - 1.7069).abs() < 1e-5 && (sum(LatentRgb::FLUX) - 0.0665).abs() < 1e-5);
    }
}
