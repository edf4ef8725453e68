//! Finished images as files.

use diffusion_app::image_file::{JPEG_QUALITY, encode_image};
use diffusion_core::image::RgbImage;

use super::draw_error::DrawError;
use crate::caches::FileCacheError;
use crate::jobs::{Job, JobImage};
use crate::parameters::infotext;
use crate::refusal::Causes;
use crate::studio::Studio;

/// Write an image of a job with its parameters.
pub(super) fn finish(studio: &Studio, job: &Job, image: &RgbImage, index: usize) -> Result<JobImage, DrawError> {
    let (output, seed) = (job.drawing.output, job.drawing.seeds[index]);
    let parameters = infotext(&job.drawing, seed, studio.registry()).to_string();
    let quality = output.quality.unwrap_or(JPEG_QUALITY);
    let bytes = encode_image(image, output.format.into(), quality, &parameters)
        .map_err(|error| DrawError::failed("format", error.to_string()))?;
    let file = format!("{}-{index}.{}", studio.secret().name_of(&bytes), output.format.extension());
    studio.pictures().write(&file, &bytes).map_err(|error| match &error {
        FileCacheError::Full(_) => DrawError::failed("storage_full", "the disk of the server is full, so the image is lost"),
        FileCacheError::Unreachable(_) | FileCacheError::Other(_) => DrawError::failed("storage", Causes(&error).to_string()),
    })?;
    Ok(JobImage { file, seed, width: image.width, height: image.height })
}
