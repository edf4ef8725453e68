//! Where pictures and captions are kept once they are encoded.

use std::fs;
use std::path::{Path, PathBuf};

use diffusion_models::{Pipeline, PipelineError, PromptStore, Tiling};

use super::bucket::Bucket;
use super::data_error::DataError;
use super::fit::Side;
use super::latents_entry::{EncodedPicture, ReadLatentsError};
use crate::digest::Digest;
use crate::output::WriteError;

/// A folder with encoded pictures and captions.
///
/// ```text
/// FOLDER/latents-KEY.safetensors    mean and standard deviation of a picture's latents, and a checksum
/// FOLDER/prompt-KEY.safetensors     a caption, see `PromptStore`
/// ```
///
/// A key is a hash of all that the numbers depend on: contents and size of the picture, or tokens of the caption, the files and
/// sizes of the encoder, its precision, and who computes. Files appear whole or not at all, and one that is damaged counts as
/// missing, so that encoding can end at any moment and goes on where it was. Files that nothing asks for any more stay until
/// somebody removes the folder.
#[derive(Clone, Debug)]
pub struct TrainingCache {
    folder: PathBuf,
    prompts: PromptStore,
    maker: String,
}

impl TrainingCache {
    /// The cache in a folder, which is made if it is not there.
    ///
    /// `maker` is all that the last bits of what is encoded may depend on besides picture, caption and model: the build of the
    /// program and the device, as [`prompt_cache::maker`](crate::prompt_cache::maker) tells them.
    ///
    /// # Errors
    /// [`DataError::Cache`] if the folder cannot be made, [`DataError::Pipeline`] if no file can be made in it.
    pub fn open(folder: &Path, maker: impl Into<String>) -> Result<Self, DataError> {
        fs::create_dir_all(folder).map_err(|source| DataError::Cache { folder: folder.to_owned(), source })?;
        let maker = maker.into();
        let prompts = PromptStore::open(folder, &maker).map_err(PipelineError::from)?;
        // All captions are needed until the last step.
        Ok(Self { folder: folder.to_owned(), prompts: prompts.with_limit(u64::MAX), maker })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The encoded captions.
    pub fn prompts(&self) -> &PromptStore {
        &self.prompts
    }

    /// What encoded pictures depend on besides the picture.
    pub(super) fn encoder(&self, pipeline: &Pipeline, tiling: Tiling) -> Result<Digest, DataError> {
        let mut encoder = Digest::default().with("latents 1").with(&self.maker).with(format!("{tiling:?}"));
        pipeline.identify_image_encoder(&mut encoder)?;
        Ok(encoder)
    }

    /// The place of an encoded picture.
    pub(super) fn place(&self, encoder: &Digest, sha256: &str, bucket: Bucket, side: Side, shape: [usize; 3]) -> Place {
        let size = encoder.clone().with(sha256).with_number(bucket.width).with_number(bucket.height);
        let key = size.with(format!("{side:?}")).hex();
        Place { path: self.folder.join(format!("latents-{key}.safetensors")), key, shape }
    }
}

/// Where an encoded picture is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    key: String,
    /// Channels, height and width of the latents.
    shape: [usize; 3],
}

impl Place {
    pub(super) fn read(&self) -> Result<EncodedPicture, ReadLatentsError> {
        EncodedPicture::read(&self.path, &self.key, self.shape)
    }

    pub(super) fn write(&self, picture: &EncodedPicture) -> Result<(), WriteError> {
        picture.write(&self.path, &self.key)
    }
}
