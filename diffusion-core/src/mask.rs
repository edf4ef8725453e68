//! Masks: which part of an image to regenerate.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::image::RgbImage;

/// Which part of an image to regenerate, pixel by pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `width * height` levels, row by row: 255 to regenerate, 0 to preserve, and mixtures between.
    pub levels: Vec<u8>,
}

impl Mask {
    /// The mask at the resolution of latents: each of their pixels takes the highest level of the square of
    /// `downscale_factor` pixels that it stands for, so that no pixel to regenerate is preserved.
    ///
    /// # Shapes
    /// - result: `[1, 1, height / downscale_factor, width / downscale_factor]`, 1 to regenerate, 0 to preserve
    pub fn latent_pixels(&self, downscale_factor: usize, device: &Device) -> Tensor<4> {
        let (rows, columns) = (self.height / downscale_factor, self.width / downscale_factor);
        let mut highest = vec![0u8; rows * columns];
        for (y, row) in self.levels.chunks(self.width).enumerate().take(rows * downscale_factor) {
            for (x, &level) in row.iter().enumerate().take(columns * downscale_factor) {
                let latent_pixel = &mut highest[y / downscale_factor * columns + x / downscale_factor];
                *latent_pixel = level.max(*latent_pixel);
            }
        }
        let values: Vec<f32> = highest.into_iter().map(|level| f32::from(level) / f32::from(u8::MAX)).collect();
        Tensor::from_data(TensorData::new(values, [1, 1, rows, columns]), (device, DType::F32))
    }

    /// The mask with an edge that rises over this many pixels, inwards: pixels of level 0 stay at 0.
    pub fn feathered(&self, pixels: usize) -> Self {
        let rise = pixels.saturating_add(1) as f32;
        let soften = |(&level, distance): (&u8, f32)| (f32::from(level) * (distance / rise).min(1.0)).round() as u8;
        Self { levels: self.levels.iter().zip(self.distances()).map(soften).collect(), ..*self }
    }

    /// Whether nothing is to be regenerated.
    pub fn is_empty(&self) -> bool {
        self.levels.iter().all(|&level| level == 0)
    }

    /// Composite the generated image over its source: pixels of level 0 are the source's, those of level 255 the
    /// generated image's.
    ///
    /// # Panics
    /// If the images have another size than the mask.
    pub fn paste(&self, generated: &RgbImage, source: &RgbImage) -> RgbImage {
        for image in [generated, source] {
            assert_eq!((image.width, image.height), (self.width, self.height), "a mask has the size of its images");
        }
        let channels = source.pixels.iter().zip(&generated.pixels).enumerate();
        let mixed = channels.map(|(index, (&source, &generated))| {
            let share = f32::from(self.levels[index / 3]) / f32::from(u8::MAX);
            (f32::from(source) + (f32::from(generated) - f32::from(source)) * share).round() as u8
        });
        RgbImage { width: self.width, height: self.height, pixels: mixed.collect() }
    }

    /// Distance of every pixel to the nearest one of level 0, along straight and diagonal steps; infinite without any.
    fn distances(&self) -> Vec<f32> {
        const DIAGONAL: f32 = std::f32::consts::SQRT_2;
        /// The neighbours that come before a pixel, row by row; mirrored, those that come after it.
        const BEFORE: [(isize, isize, f32); 4] = [(-1, 0, 1.0), (-1, -1, DIAGONAL), (0, -1, 1.0), (1, -1, DIAGONAL)];
        let (width, height) = (self.width as isize, self.height as isize);
        let mut distances: Vec<f32> = self.levels.iter().map(|&l| if l == 0 { 0.0 } else { f32::INFINITY }).collect();
        for direction in [1, -1] {
            for step in 0..distances.len() {
                let at = if direction > 0 { step } else { distances.len() - 1 - step };
                let (x, y) = (at as isize % width, at as isize / width);
                for (right, down, length) in BEFORE {
                    let (x, y) = (x + direction * right, y + direction * down);
                    if (0..width).contains(&x) && (0..height).contains(&y) {
                        distances[at] = distances[at].min(distances[(y * width + x) as usize] + length);
                    }
                }
            }
        }
        distances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(width: usize, levels: &[u8]) -> Mask {
        Mask { width, height: levels.len() / width, levels: levels.to_vec() }
    }

    #[test]
    fn a_latent_pixel_has_the_highest_of_its_levels() {
        let mask = mask(4, &[0, 51, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0]);
        let latent_pixels = mask.latent_pixels(2, &Device::flex()).into_data();
        assert_eq!(latent_pixels.iter::<f32>().collect::<Vec<_>>(), [0.2, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn feathers_rise_inwards_and_preserve_what_was_preserved() {
        let hard = mask(7, &[0, 255, 255, 255, 255, 255, 255]);
        assert_eq!(hard.feathered(3).levels, [0, 64, 128, 191, 255, 255, 255]);
        assert_eq!(hard.feathered(0), hard);
        let square = mask(3, &[255, 255, 255, 255, 255, 255, 255, 255, 0]);
        assert_eq!(square.feathered(3).levels, [180, 154, 128, 154, 90, 64, 128, 64, 0]);
        let full = mask(2, &[255; 6]);
        assert_eq!(full.feathered(9), full);
    }

    #[test]
    fn preserved_pixels_are_the_sources_and_others_are_generated() {
        let image = |pixels: [u8; 9]| RgbImage { width: 3, height: 1, pixels: pixels.to_vec() };
        let source = image([1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let generated = image([101, 102, 103, 104, 105, 106, 107, 108, 109]);
        let mixed = mask(3, &[0, 51, 255]).paste(&generated, &source);
        assert_eq!(mixed.pixels, [1, 2, 3, 24, 25, 26, 107, 108, 109]);
        assert!(mask(2, &[0, 0]).is_empty() && !mask(2, &[0, 1]).is_empty());
    }
}
