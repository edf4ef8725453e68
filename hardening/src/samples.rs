//! Whole files, to be damaged.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffusion_models::{Pipeline, PipelineOptions, PromptStore, Settings, ignore};
use image::ImageFormat;
use safetensors::tensor::{Dtype, TensorView};

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

/// Prompts in the encodings that editors write.
pub(crate) fn prompts() -> Vec<Vec<u8>> {
    const TEXT: &str = "a red house\r\n\r\nun été à la mer\n家の写真 \u{1f600}\n";
    let utf16 = |bytes_of: fn(u16) -> [u8; 2]| "\u{feff}".encode_utf16().chain(TEXT.encode_utf16()).flat_map(bytes_of).collect();
    vec![TEXT.into(), format!("\u{feff}{TEXT}").into(), utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)]
}

/// Noise of this shape, as a file to draw from.
pub(crate) fn noise(shape: [usize; 4]) -> Vec<u8> {
    let len: usize = shape.iter().product();
    let values: Vec<u8> = (0..len).flat_map(|index| (index as f32 / len as f32).to_le_bytes()).collect();
    let tensor = TensorView::new(Dtype::F32, shape.to_vec(), &values).expect("as many bytes as the shape says");
    safetensors::serialize([("noise", tensor)], None).expect("a tensor that can be written")
}

/// A prompt that a small model encoded, as it is kept for the next run.
pub(crate) fn encoded_prompt() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = PipelineOptions::new(&Device::flex());
    let mut pipeline = Pipeline::open(&in_repository("fixtures/flux-schnell"), &options).expect("a small model");
    pipeline.set_prompt_store(PromptStore::open(folder.path(), "").expect("a folder"));
    let settings = Settings { max_sequence_length: 2, ..pipeline.default_settings() };
    pipeline.encode_prompt("a prompt", "", &settings, &mut ignore).expect("an encoded prompt");
    let kept = std::fs::read_dir(&folder).expect("a folder").next().expect("a kept prompt").expect("an entry");
    std::fs::read(kept.path()).expect("a file")
}

/// Captions as the Hugging Face hub's folders of images have them.
pub(crate) fn captions_of_pictures() -> Vec<u8> {
    let line =
        r#"{"file_name": "./astronaut.png", "width": 192, "text": "an astronaut \u00e0 \"la\" carte", "tags": ["a", null]}"#;
    format!("{line}\n\n").into_bytes()
}

#[path = "../../diffusion-models/tests/common/dduf.rs"]
mod archive;

/// A diffusers folder in one file.
pub(crate) fn dduf(folder: &str) -> Vec<u8> {
    archive::archive(&archive::entries_of(&in_repository(folder)), false)
}
