//! What is learnt from, and how it is put together.

use diffusion_core::SettingError;
use diffusion_models::{ModelInfo, Tiling};

use super::bucket::Buckets;
use super::picture_folder::PictureFolder;

/// What is learnt from, and how it is put together.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSettings {
    /// The pictures.
    pub pictures: PictureFolder,
    /// Pictures of other things of the same kind, so that these do not become like what is learnt.
    pub class_pictures: Option<ClassPictures>,
    /// Resolutions in pixels: a picture is learnt at each that it reaches. See [`Buckets`].
    pub resolutions: Vec<usize>,
    /// Sides of the pictures are multiples of so many pixels.
    pub bucket_step: usize,
    /// Whether half of the pictures that are learnt are mirrored.
    pub flips: bool,
    /// Share of pictures that are learnt with an empty caption, which classifier-free guidance needs: from 0 to 1.
    pub caption_dropout: f64,
    /// Most pictures of a batch, class pictures not counted.
    pub batch_size: usize,
    /// All that is drawn follows from it.
    pub seed: u64,
    /// Tokens of captions that T5 sees.
    pub max_sequence_length: usize,
    /// Whether pictures are encoded whole or in tiles.
    pub tiling: Tiling,
}

/// Pictures of other things of the same kind, for prior preservation.
///
/// A batch has as many of them as of the pictures that are learnt, of the same size, after these.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassPictures {
    /// The pictures.
    pub folder: PictureFolder,
    /// How much they count: the factor of their mean error beside that of the others.
    pub weight: f64,
}

impl DataSettings {
    /// Most pictures of a batch.
    pub const MAX_BATCH: usize = 1024;

    /// The pictures of a folder at the size that a model draws by itself, one at a time, not mirrored, with all their captions.
    pub fn new(pictures: PictureFolder, info: &ModelInfo) -> Self {
        Self {
            pictures,
            class_pictures: None,
            resolutions: vec![info.defaults.width],
            bucket_step: Buckets::DEFAULT_STEP.next_multiple_of(info.geometry.side_step()),
            flips: false,
            caption_dropout: 0.0,
            batch_size: 1,
            seed: 0,
            max_sequence_length: info.defaults.max_sequence_length,
            tiling: Tiling::Whole,
        }
    }

    /// The buckets for a model, if everything is within its range.
    pub(super) fn check(&self, info: &ModelInfo) -> Result<Buckets, SettingError> {
        if !(1..=Self::MAX_BATCH).contains(&self.batch_size) {
            return Err(SettingError::new("batch size", format!("1 to {}", Self::MAX_BATCH), self.batch_size));
        }
        if !(0.0..=1.0).contains(&self.caption_dropout) {
            return Err(SettingError::new("caption dropout", "a share from 0 to 1", self.caption_dropout));
        }
        if !(1..=info.max_sequence_length).contains(&self.max_sequence_length) {
            let expected = format!("1 to {}, the tokens that the text encoder was made for", info.max_sequence_length);
            return Err(SettingError::new("maximum sequence length", expected, self.max_sequence_length));
        }
        if let Some(class) = &self.class_pictures
            && !(class.weight.is_finite() && class.weight >= 0.0)
        {
            return Err(SettingError::new("weight of class pictures", "a number of 0 or more", class.weight));
        }
        Buckets::new(&self.resolutions, self.bucket_step, &info.geometry)
    }
}
