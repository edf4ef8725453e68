//! A picture with its caption.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::bucket::{Bucket, Buckets};
use super::data_error::DataError;
use super::data_event::{DataEvent, DataObserver};
use super::data_warning::DataWarning;
use super::folder_problems::FolderProblem;
use super::listing::Found;
use crate::digest::sha256_of;
use crate::image_file::{ReadImageError, decode_at_own_size, read_image_bytes};

/// A picture with its caption, looked at and found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its file.
    pub path: PathBuf,
    /// Its name in its folder, with `/` between folders.
    pub name: String,
    /// Its caption, with the trigger word.
    pub caption: String,
    /// How often it comes in an epoch.
    pub repeats: usize,
    /// Width in pixels, once it is turned.
    pub width: usize,
    /// Height in pixels, once it is turned.
    pub height: usize,
    /// SHA-256 of its contents, in hexadecimal digits.
    pub sha256: String,
}

/// A picture with its caption, not yet looked at.
#[derive(Debug)]
pub(super) struct Captioned {
    pub(super) found: Found,
    pub(super) caption: String,
    pub(super) repeats: usize,
}

/// Look at pictures, in the order of their names. What is wrong with them goes to `problems`.
pub(super) fn check_pictures(
    mut captioned: Vec<Captioned>,
    buckets: &Buckets,
    problems: &mut Vec<FolderProblem>,
    warnings: &mut Vec<DataWarning>,
    observer: DataObserver<'_>,
) -> Result<Vec<Picture>, DataError> {
    captioned.sort_by(|first, second| first.found.name.cmp(&second.found.name));
    let total = captioned.len();
    let mut pictures = Vec::with_capacity(total);
    for (index, captioned) in captioned.into_iter().enumerate() {
        let name = captioned.found.name.clone();
        match look_at(captioned) {
            Ok(picture) if buckets.of(picture.width, picture.height).is_empty() => {
                let (width, height) = (picture.width, picture.height);
                problems.push(FolderProblem::Tiny { picture: name, width, height, least: buckets.least_side() });
            }
            Ok(picture) => pictures.push(picture),
            Err(error) => problems.push(FolderProblem::Picture(error)),
        }
        if observer(DataEvent::Checked { done: index + 1, total }).is_break() {
            return Err(DataError::Cancelled { during: "looking at pictures" });
        }
    }
    warn(&pictures, buckets, warnings);
    Ok(pictures)
}

fn look_at(captioned: Captioned) -> Result<Picture, ReadImageError> {
    let Captioned { found: Found { name, path }, caption, repeats } = captioned;
    let bytes = read_image_bytes(&path)?;
    let image = decode_at_own_size(&bytes, &path)?;
    Ok(Picture { sha256: sha256_of(&bytes), width: image.width, height: image.height, path, name, caption, repeats })
}

/// Warn of what may not be meant.
fn warn(pictures: &[Picture], buckets: &Buckets, warnings: &mut Vec<DataWarning>) {
    /// Of a picture that is learnt without a warning, in percent.
    const LEAST_SHARE: usize = 66;
    let mut known = BTreeMap::<&str, &str>::new();
    for picture in pictures {
        if let Some(first) = known.insert(&picture.sha256, &picture.name) {
            warnings.push(DataWarning::SamePicture { first: first.to_owned(), second: picture.name.clone() });
        }
        let share = |bucket: Bucket| (100.0 * (-bucket.distance(picture.width, picture.height)).exp()).round() as usize;
        let percent = buckets.of(picture.width, picture.height).into_iter().map(share).min().unwrap_or(100);
        if percent < LEAST_SHARE {
            warnings.push(DataWarning::Cropped { picture: picture.name.clone(), percent });
        }
    }
    let count = pictures.iter().filter(|picture| !buckets.is_reached_by(picture.width, picture.height)).count();
    if count > 0 {
        warnings.push(DataWarning::Small { count, resolution: buckets.resolutions()[0] });
    }
}
