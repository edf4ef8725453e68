//! Finished images as files.

use diffusion_core::image::RgbImage;

use super::draw::DrawError;
use crate::caches::FileCacheError;
use crate::jobs::{Job, JobImage};
use crate::registry::ModelEntry;
use crate::request::PictureFormat;
use crate::studio::Studio;

/// Write an image with its parameters.
pub(super) fn finish(
    studio: &Studio,
    job: &Job,
    entry: &ModelEntry,
    image: RgbImage,
    index: usize,
) -> Result<JobImage, DrawError> {
    let (width, height) = (image.width, image.height);
    let format = job.drawing.output.format;
    let bytes = encode(image, format);
    let file = format!("{}-{index}.{}", job.id, format.extension());
    studio.pictures().write(&file, &bytes).map_err(|error| match &error {
        FileCacheError::Full(_) => DrawError::failed("storage_full", "the disk of the server is full, so the image is lost"),
        FileCacheError::Other(source) => DrawError::failed("storage", format!("{error}: {source}")),
    })?;
    let _ = entry;
    Ok(JobImage { file, seed: job.drawing.seeds[index], width, height })
}

fn encode(image: RgbImage, format: PictureFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let format = match format {
        PictureFormat::Png => image::ImageFormat::Png,
        PictureFormat::Jpeg => image::ImageFormat::Jpeg,
        PictureFormat::Webp => image::ImageFormat::WebP,
    };
    image::RgbImage::from_raw(image.width as u32, image.height as u32, image.pixels)
        .unwrap()
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}
