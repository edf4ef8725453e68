//! Pictures that were looked at, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use diffusion_models::{ImageGeometry, ModelInfo};

use super::bucket::{Bucket, Buckets};
use super::data_error::DataError;
use super::data_event::DataObserver;
use super::data_settings::DataSettings;
use super::epochs::Epochs;
use super::fingerprint::Fingerprint;
use super::picture::Picture;
use super::picture_folder::Pictures;
use super::summary::{DataSummary, WordCounts};

/// Pictures and captions that were looked at, with nothing wrong and nothing encoded: what [`encode`](Self::encode) makes a
/// [`TrainingSet`](super::TrainingSet) of.
#[derive(Clone, Debug)]
pub struct TrainingPictures {
    pub(super) settings: DataSettings,
    pub(super) geometry: ImageGeometry,
    pictures: Pictures,
    class_pictures: Option<Pictures>,
    /// What is learnt: each picture in each of its buckets.
    samples: Vec<(usize, Bucket)>,
    /// Class pictures that can go beside pictures of a bucket.
    class_samples: BTreeMap<Bucket, Vec<usize>>,
}

impl DataSettings {
    /// Read the folders, for a model: everything about them is checked, and nothing is encoded.
    ///
    /// # Errors
    /// [`DataError`] naming the setting, or all that is wrong with a folder.
    pub fn read(&self, info: &ModelInfo, observer: DataObserver<'_>) -> Result<TrainingPictures, DataError> {
        let buckets = self.check(info)?;
        let pictures = self.pictures.read(&buckets, observer)?;
        let class_pictures = match &self.class_pictures {
            Some(class) => Some(class.folder.read(&buckets, observer)?),
            None => None,
        };
        TrainingPictures::new(self.clone(), info.geometry, buckets, pictures, class_pictures)
    }
}

impl TrainingPictures {
    fn new(
        settings: DataSettings,
        geometry: ImageGeometry,
        buckets: Buckets,
        pictures: Pictures,
        class_pictures: Option<Pictures>,
    ) -> Result<Self, DataError> {
        let buckets_of = |picture: &Picture| buckets.of(picture.width, picture.height);
        let with_index = pictures.pictures.iter().enumerate();
        let samples: Vec<_> =
            with_index.flat_map(|(index, picture)| buckets_of(picture).into_iter().map(move |bucket| (index, bucket))).collect();
        let used: BTreeSet<Bucket> = samples.iter().map(|(_, bucket)| *bucket).collect();
        let mut class_samples = BTreeMap::new();
        if let Some(class) = &class_pictures {
            for bucket in used {
                class_samples.insert(bucket, beside(bucket, class, &buckets)?);
            }
        }
        Ok(Self { settings, geometry, pictures, class_pictures, samples, class_samples })
    }

    /// The pictures.
    pub fn pictures(&self) -> &[Picture] {
        &self.pictures.pictures
    }

    /// The class pictures.
    pub fn class_pictures(&self) -> &[Picture] {
        self.class_pictures.as_ref().map_or(&[], |class| &class.pictures)
    }

    /// What a run that goes on has to find again.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(&self.settings, &self.pictures, self.class_pictures.as_ref())
    }

    /// What there is, in numbers. How much of captions text encoders see is known when they are encoded.
    pub fn summary(&self) -> DataSummary {
        let mut buckets = BTreeMap::new();
        for (_, bucket) in &self.samples {
            *buckets.entry(*bucket).or_insert(0) += 1;
        }
        let all = || [Some(&self.pictures), self.class_pictures.as_ref()].into_iter().flatten();
        let repeats = |(picture, _): &(usize, Bucket)| self.pictures()[*picture].repeats;
        DataSummary {
            pictures: self.pictures().len(),
            class_pictures: self.class_pictures().len(),
            buckets: buckets.into_iter().collect(),
            epoch_pictures: self.samples.iter().map(repeats).sum(),
            epoch_batches: self.epochs().len(),
            words: WordCounts::of(self.pictures().iter().map(|picture| &*picture.caption)),
            warnings: all().flat_map(|pictures| pictures.warnings.clone()).collect(),
        }
    }

    pub(super) fn epochs(&self) -> Epochs {
        let samples = self.samples.iter().map(|(picture, bucket)| (*bucket, self.pictures()[*picture].repeats));
        Epochs::new(self.settings.seed, self.settings.batch_size, samples)
    }

    /// What is learnt: each picture in each of its buckets.
    pub(super) fn samples(&self) -> &[(usize, Bucket)] {
        &self.samples
    }

    /// Class pictures, by their numbers, that go beside pictures of a bucket.
    pub(super) fn class_samples(&self) -> &BTreeMap<Bucket, Vec<usize>> {
        &self.class_samples
    }
}

/// The class pictures that go beside pictures of a bucket: those that belong to it, or else all that are large enough.
fn beside(bucket: Bucket, class: &Pictures, buckets: &Buckets) -> Result<Vec<usize>, DataError> {
    let chosen = |fits: &dyn Fn(&Picture) -> bool| {
        let pictures = class.pictures.iter().enumerate();
        pictures.filter(|(_, picture)| fits(picture)).map(|(index, _)| index).collect::<Vec<_>>()
    };
    let belonging = chosen(&|picture| buckets.of(picture.width, picture.height).contains(&bucket));
    if !belonging.is_empty() {
        return Ok(belonging);
    }
    let large = chosen(&|picture| bucket.fits_into(picture.width, picture.height));
    if large.is_empty() { Err(DataError::NoClassPicture { folder: class.folder.clone(), bucket }) } else { Ok(large) }
}
