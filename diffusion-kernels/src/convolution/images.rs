//! What is convolved.

use std::ops::Range;

use crate::rows::get;
use crate::simd::Simd;
use crate::{Activation, ChannelNorm};

/// Images, and what happens to their pixels before they are summed. Zeros around an image stay zeros.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// `[images, channels, height, width]`
    pub pixels: &'a [f32],
    /// How many images there are, their channels, height and width.
    pub shape: [usize; 4],
    /// Applied first: means and deviations are those of the same images.
    pub norm: Option<&'a ChannelNorm>,
    /// Applied then.
    pub activation: Activation,
}

impl<'a> Images<'a> {
    /// Images as they are.
    pub fn new(pixels: &'a [f32], shape: [usize; 4]) -> Self {
        Self { pixels, shape, norm: None, activation: Activation::None }
    }

    pub(super) fn check(&self) {
        let [count, channels, height, width] = self.shape;
        assert_eq!(self.pixels.len(), count * channels * height * width, "numbers of images, {:?}", self.shape);
        if let Some(norm) = self.norm {
            let found = [norm.factor.len(), norm.offset.len()];
            assert_eq!(found, [count * channels; 2], "factors and offsets of {channels} channels of {count} images");
        }
    }

    #[inline(always)]
    pub(super) fn channel(&self, image: usize, channel: usize) -> Channel<'a> {
        let [_, channels, height, width] = self.shape;
        let (index, len) = (image * channels + channel, height * width);
        let norm = self.norm.map(|norm| [norm.factor[index], norm.offset[index]]);
        Channel { pixels: &self.pixels[index * len..][..len], norm }
    }
}

/// Pixels of a channel of an image.
#[derive(Clone, Copy)]
pub(super) struct Channel<'a> {
    pub(super) pixels: &'a [f32],
    /// Factor and offset.
    norm: Option<[f32; 2]>,
}

impl Channel<'_> {
    #[inline(always)]
    pub(super) fn part(self, pixels: &Range<usize>) -> Self {
        Self { pixels: &self.pixels[pixels.clone()], ..self }
    }

    /// The vector of pixels that begins at `first`, normalised and activated; anything beyond the end.
    #[inline(always)]
    pub(super) fn vector<S: Simd>(self, s: S, activation: Activation, first: usize) -> S::V {
        let pixels = get(s, self.pixels, first);
        let normalised = match self.norm {
            Some([factor, offset]) => s.mul_add(pixels, s.splat(factor), s.splat(offset)),
            None => pixels,
        };
        activation.apply(s, normalised)
    }
}
