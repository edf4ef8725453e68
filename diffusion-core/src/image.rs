//! 8-bit RGB images and the tensors that autoencoders work on.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// An 8-bit RGB image, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `3 * width * height` bytes.
    pub pixels: Vec<u8>,
}

impl RgbImage {
    /// The images of a decoded batch: clamped to [-1, 1] and rounded, as diffusers does.
    ///
    /// # Shapes
    /// - images: `[batch, 3, height, width]`, RGB in [-1, 1]
    /// # Panics
    /// If there are other than three channels.
    pub fn from_tensor(images: Tensor<4>) -> Vec<Self> {
        let [_, channels, height, width] = images.dims();
        assert_eq!(channels, 3, "RGB images have three channels");
        let levels = (images.cast(DType::F32) * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0;
        let levels = levels.permute([0, 2, 3, 1]).into_data();
        let pixels: Vec<u8> = levels.iter::<f32>().map(|level| level.round_ties_even() as u8).collect();
        let image = |pixels: &[u8]| Self { width, height, pixels: pixels.to_vec() };
        pixels.chunks(3 * width * height).map(image).collect()
    }

    /// As a tensor `[1, 3, height, width]`, RGB in [-1, 1].
    pub fn to_tensor(&self, device: &Device) -> Tensor<4> {
        let values: Vec<f32> = self.pixels.iter().map(|&level| f32::from(level) / 127.5 - 1.0).collect();
        let data = TensorData::new(values, [1, self.height, self.width, 3]);
        Tensor::<4>::from_data(data, (device, DType::F32)).permute([0, 3, 1, 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_survives_the_way_through_a_tensor() {
        let pixels: Vec<u8> = (0..3 * 7 * 5).map(|i| (i * 37 % 256) as u8).collect();
        let image = RgbImage { width: 7, height: 5, pixels };
        assert_eq!(RgbImage::from_tensor(image.to_tensor(&Device::flex())), [image]);
    }

    #[test]
    fn values_beyond_the_range_are_clamped() {
        let wild = Tensor::<4>::from_floats([[[[-9.0]], [[0.0]], [[9.0]]]], &Device::flex());
        assert_eq!(RgbImage::from_tensor(wild)[0].pixels, [0, 128, 255]);
    }
}
