//! Whole files, to be damaged.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::ImageFormat;

/// A place in the repository.
pub fn in_repository(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(place)
}

/// The contents of files of the repository.
pub(crate) fn files<const N: usize>(places: [&str; N]) -> Vec<Vec<u8>> {
    let read = |place| std::fs::read(in_repository(place)).unwrap_or_else(|error| panic!("{place}: {error}"));
    places.map(read).into()
}

/// A small image in every format that is read, with the photograph's colours, some in gray and some with transparency.
pub(crate) fn pictures() -> Vec<Vec<u8>> {
    const SIDE: u32 = 24;
    let photograph = image::open(in_repository("fixtures/photograph/astronaut.png")).expect("a photograph");
    let small = photograph.resize_exact(SIDE, SIDE, image::imageops::FilterType::Triangle);
    let encoded = |picture: &image::DynamicImage, format| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("an image that can be encoded");
        bytes.into_inner()
    };
    let rgb = image::DynamicImage::from(small.to_rgb8());
    let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::Tiff];
    let mut pictures: Vec<Vec<u8>> = formats.into_iter().map(|format| encoded(&rgb, format)).collect();
    pictures.push(encoded(&small.to_luma8().into(), ImageFormat::Png));
    pictures.push(encoded(&small.to_luma_alpha16().into(), ImageFormat::Png));
    pictures.push(encoded(&small.to_rgba8().into(), ImageFormat::Tiff));
    pictures
}
