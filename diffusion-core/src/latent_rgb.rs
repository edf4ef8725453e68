//! Previews that cost nothing: colours as sums of latent channels.

use burn::tensor::{Device, Tensor};

use crate::image::RgbImage;

/// Channels of the latents that colours are known of.
const CHANNELS: usize = 16;

/// A linear map from latents to colours, a pixel for each latent pixel: shape and light without detail.
///
/// Meant for [`SamplerStep::denoised`](crate::SamplerStep::denoised), the image that the network believes in.
///
/// Reference: `ComfyUI` `comfy/latent_formats.py#L118-L172` at a125cd8, whose factors were fitted to images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentRgb {
    /// Red, green and blue of each channel, for colours in [-1, 1].
    pub factors: [[f32; 3]; CHANNELS],
    /// Red, green and blue of latents that are zero.
    pub bias: [f32; 3],
}

impl LatentRgb {
    /// The images of latents, a pixel for each latent pixel.
    ///
    /// # Shapes
    /// - latents: `[batch, 16, height, width]`, as the network sees them
    /// # Panics
    /// If there are other than 16 channels.
    pub fn images(&self, latents: Tensor<4>) -> Vec<RgbImage> {
        let [batch, channels, height, width] = latents.dims();
        assert_eq!(channels, CHANNELS, "colours are known of latents with {CHANNELS} channels");
        let device: Device = latents.device();
        let factors = Tensor::<2>::from_floats(self.factors, &device);
        let bias = Tensor::<1>::from_floats(self.bias, &device).reshape([1, 3, 1, 1]);
        let pixels = latents.permute([0, 2, 3, 1]).reshape([batch * height * width, CHANNELS]);
        let colors = pixels.matmul(factors).reshape([batch, height, width, 3]).permute([0, 3, 1, 2]);
        RgbImage::from_tensor(colors + bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel at one: 0.1994 + 0.2394 = 0.4388 in red, and so on.
    #[test]
    fn colours_are_sums_of_channels() {
        let device = Device::flex();
        let mut latents = Tensor::<4>::zeros([2, CHANNELS, 1, 2], &device);
        latents = latents.slice_assign([1..2, 2..3, 0..1, 1..2], Tensor::ones([1, 1, 1, 1], &device));
        let mut factors = [[0.0; 3]; CHANNELS];
        factors[2] = [0.1994, 0.0927, 0.0458];
        let images = LatentRgb { factors, bias: [0.2394, 0.2135, 0.1925] }.images(latents);
        let level = |x: f32| (f32::midpoint(x, 1.0) * 255.0).round() as u8;
        let [zero, one] = [[0.2394, 0.2135, 0.1925], [0.4388, 0.3062, 0.2383]].map(|color| color.map(level));
        assert_eq!((images[0].width, images[0].height), (2, 1));
        assert_eq!(images[0].pixels, [zero, zero].concat());
        assert_eq!(images[1].pixels, [zero, one].concat());
    }
}
