//! Pictures of the size of a bucket.

use diffusion_core::image::RgbImage;
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb};

use super::bucket::Bucket;

/// Which way round a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    AsItIs,
    Mirrored,
}

/// A picture that covers a bucket (Lanczos), without what hangs over on both sides.
///
/// # Panics
/// If the picture has no pixels, or not as many as its sides say.
pub(super) fn fit(picture: &RgbImage, bucket: Bucket, side: Side) -> RgbImage {
    let [width, height, bucket_width, bucket_height] =
        [picture.width, picture.height, bucket.width, bucket.height].map(|side| side as u32);
    let whole = ImageBuffer::<Rgb<u8>, _>::from_raw(width, height, &*picture.pixels);
    let whole = whole.unwrap_or_else(|| unreachable!("a picture has three bytes a pixel"));
    let scale = (f64::from(bucket_width) / f64::from(width)).max(f64::from(bucket_height) / f64::from(height));
    let scaled = |side: u32, least: u32| ((f64::from(side) * scale).round() as u32).max(least);
    let (width, height) = (scaled(width, bucket_width), scaled(height, bucket_height));
    let (left, top) = ((width - bucket_width) / 2, (height - bucket_height) / 2);
    // A copy, if it has the size already.
    let covering = imageops::resize(&whole, width, height, FilterType::Lanczos3);
    let mut cut = imageops::crop_imm(&covering, left, top, bucket_width, bucket_height).to_image();
    if side == Side::Mirrored {
        imageops::flip_horizontal_in_place(&mut cut);
    }
    RgbImage { width: bucket.width, height: bucket.height, pixels: cut.into_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize, level: impl Fn(usize, usize) -> u8) -> RgbImage {
        let pixels = (0..width * height).flat_map(|place| [level(place % width, place / width); 3]).collect();
        RgbImage { width, height, pixels }
    }

    #[test]
    fn what_hangs_over_is_cut_on_both_sides() {
        let wide = picture(12, 4, |x, y| (10 * x + y) as u8);
        let expected = picture(4, 4, |x, y| (10 * (x + 4) + y) as u8);
        assert_eq!(fit(&wide, Bucket { width: 4, height: 4 }, Side::AsItIs), expected);
        let mirrored = picture(4, 4, |x, y| (10 * (7 - x) + y) as u8);
        assert_eq!(fit(&wide, Bucket { width: 4, height: 4 }, Side::Mirrored), mirrored);
    }

    #[test]
    fn pictures_are_made_smaller_by_the_filter_and_keep_their_aspect() {
        let tall = picture(64, 256, |x, y| (2 * x + y / 4) as u8);
        let found = fit(&tall, Bucket { width: 32, height: 64 }, Side::AsItIs);
        let whole = image::RgbImage::from_raw(64, 256, tall.pixels.clone()).unwrap();
        let half = imageops::resize(&whole, 32, 128, FilterType::Lanczos3);
        assert_eq!(found.pixels, imageops::crop_imm(&half, 0, 32, 32, 64).to_image().into_raw());
        // A size that is not a whole number of pixels.
        let found = fit(&picture(101, 67, |_, _| 9), Bucket { width: 64, height: 32 }, Side::AsItIs);
        assert_eq!(found, picture(64, 32, |_, _| 9));
    }
}
