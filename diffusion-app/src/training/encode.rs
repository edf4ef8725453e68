//! Pictures and captions as a network takes them, encoded once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;

use diffusion_core::ops::release_memory;
use diffusion_models::components::VAE;
use diffusion_models::{ComponentFile, Event, ImageEncoder, Pipeline, Settings};

use super::bucket::Bucket;
use super::data_error::DataError;
use super::data_event::{DataEvent, DataObserver};
use super::data_warning::DataWarning;
use super::fit::{Side, fit};
use super::latents_entry::EncodedPicture;
use super::noise_levels::NoiseLevels;
use super::picture::Picture;
use super::training_cache::{Place, TrainingCache};
use super::training_pictures::TrainingPictures;
use super::training_set::{Sample, TrainingSet};
use crate::digest::{Digest, sha256_of};
use crate::image_file::{ReadImageError, decode_at_own_size, read_image_bytes};

impl TrainingPictures {
    /// Encode pictures and captions, except those that are in the cache, and give what is to be learnt. Text encoders and
    /// autoencoder are in no memory afterwards.
    ///
    /// It can be ended at any moment, and goes on where it was.
    ///
    /// # Errors
    /// [`DataError`] if the model has no encoder of images or one cannot be loaded, a picture changed since it was looked at, the
    /// latents of one are not finite, something cannot be written, or the observer cancels.
    pub fn encode(
        &self,
        pipeline: &mut Pipeline,
        cache: &TrainingCache,
        levels: NoiseLevels,
        observer: DataObserver<'_>,
    ) -> Result<TrainingSet, DataError> {
        let (captions, warnings) = self.encode_captions(pipeline, cache, observer)?;
        pipeline.free_prompt_encoder();
        let encoder = cache.encoder(pipeline, self.settings.tiling)?;
        let mut encoding = Encoding { training: self, pipeline, cache, identity: encoder, loaded: None, done: 0, observer };
        let pictures = encoding.all(self.pictures(), self.samples().iter().copied())?;
        let beside = self.class_samples().iter().flat_map(|(bucket, chosen)| chosen.iter().map(|&picture| (picture, *bucket)));
        let class_pictures = encoding.all(self.class_pictures(), beside)?;
        drop(encoding);
        pipeline.model().autoencoder().checkpoint().release();
        release_memory();

        let sample = |picture: &Picture, places: &[Place], bucket: Bucket| Sample {
            name: picture.path.display().to_string(),
            bucket,
            sides: places.to_vec(),
            caption: picture.caption.clone(),
            encoded_caption: captions[&*picture.caption].clone(),
        };
        let samples = self.samples().iter().map(|key| sample(&self.pictures()[key.0], &pictures[key], key.1));
        let class_samples = self.class_samples().iter().map(|(&bucket, chosen)| {
            let keys = chosen.iter().map(|&picture| (picture, bucket));
            let samples = keys.map(|key| sample(&self.class_pictures()[key.0], &class_pictures[&key], bucket));
            (bucket, samples.collect())
        });
        let mut summary = self.summary();
        summary.warnings.extend(warnings);
        Ok(TrainingSet {
            settings: self.settings.clone(),
            geometry: self.geometry,
            device: pipeline.device().clone(),
            levels,
            samples: samples.collect(),
            class_samples: class_samples.collect(),
            empty_caption: captions.get("").cloned(),
            epochs: self.epochs(),
            summary,
            fingerprint: self.fingerprint(),
        })
    }

    /// Where each caption is, and what text encoders do not see.
    fn encode_captions(
        &self,
        pipeline: &mut Pipeline,
        cache: &TrainingCache,
        observer: DataObserver<'_>,
    ) -> Result<(BTreeMap<&str, PathBuf>, Vec<DataWarning>), DataError> {
        // The first picture of each caption.
        let mut pictures = BTreeMap::<&str, &str>::new();
        for picture in self.pictures().iter().chain(self.class_pictures()) {
            pictures.entry(&picture.caption).or_insert(&picture.name);
        }
        let empty = (self.settings.caption_dropout > 0.0).then_some("");
        let captions: Vec<&str> = empty.into_iter().chain(pictures.keys().copied()).collect();
        let settings = Settings { max_sequence_length: self.settings.max_sequence_length, ..pipeline.default_settings() };
        let kept = pipeline.keep_prompts(&captions, cache.prompts(), &settings, &mut |event| told(&event, observer))?;
        let mut warnings = Vec::new();
        let mut places = BTreeMap::new();
        for (caption, kept) in captions.into_iter().zip(kept) {
            let picture = pictures.get(caption).copied().unwrap_or_default();
            let cut = kept.truncated.into_iter();
            warnings.extend(cut.map(|truncation| DataWarning::CaptionCut { picture: picture.to_owned(), truncation }));
            places.insert(caption, kept.path);
        }
        Ok((places, warnings))
    }
}

/// What a pipeline tells, as it is told here.
fn told(event: &Event, observer: DataObserver<'_>) -> ControlFlow<()> {
    match *event {
        Event::Loading { component, done, total, .. } => observer(DataEvent::Loading { component, done, total }),
        Event::Encoded { done, total, .. } => observer(DataEvent::Caption { done, total }),
        _ => ControlFlow::Continue(()),
    }
}

/// Pictures while they are encoded.
struct Encoding<'a> {
    training: &'a TrainingPictures,
    pipeline: &'a Pipeline,
    cache: &'a TrainingCache,
    /// What encoded pictures depend on besides the picture.
    identity: Digest,
    /// The encoder, once there is something to encode.
    loaded: Option<ImageEncoder>,
    /// Number of pictures that are encoded.
    done: usize,
    observer: DataObserver<'a>,
}

impl Encoding<'_> {
    /// Encode pictures at the sizes of these buckets, one picture after the other: where they are.
    fn all(
        &mut self,
        pictures: &[Picture],
        samples: impl Iterator<Item = (usize, Bucket)>,
    ) -> Result<BTreeMap<(usize, Bucket), Vec<Place>>, DataError> {
        let mut buckets = BTreeMap::<usize, BTreeSet<Bucket>>::new();
        for (picture, bucket) in samples {
            buckets.entry(picture).or_default().insert(bucket);
        }
        let mut places = BTreeMap::new();
        for (index, picture) in pictures.iter().enumerate() {
            let buckets = buckets.remove(&index).unwrap_or_default();
            let of_picture = |bucket| ((index, bucket), self.places(picture, bucket));
            let found: BTreeMap<_, _> = buckets.into_iter().map(of_picture).collect();
            self.encode(picture, &found)?;
            places.extend(found.into_iter().map(|(key, sides)| (key, sides.into_values().collect())));
            self.done += 1;
            let total = self.training.pictures().len() + self.training.class_pictures().len();
            if (self.observer)(DataEvent::Picture { done: self.done, total }).is_break() {
                return Err(DataError::Cancelled { during: "encoding pictures" });
            }
        }
        Ok(places)
    }

    /// Where a picture is, as it is and perhaps mirrored.
    fn places(&self, picture: &Picture, bucket: Bucket) -> BTreeMap<Side, Place> {
        let geometry = self.training.geometry;
        let [height, width] = [bucket.height, bucket.width].map(|side| side / geometry.downscale_factor);
        let shape = [geometry.latent_channels, height, width];
        let mirrored = self.training.settings.flips.then_some(Side::Mirrored);
        let sides = [Side::AsItIs].into_iter().chain(mirrored);
        sides.map(|side| (side, self.cache.place(&self.identity, &picture.sha256, bucket, side, shape))).collect()
    }

    /// Encode a picture into those of its places where it is not.
    fn encode(&mut self, picture: &Picture, places: &BTreeMap<(usize, Bucket), BTreeMap<Side, Place>>) -> Result<(), DataError> {
        let all = places.iter().flat_map(|((_, bucket), sides)| sides.iter().map(|(side, place)| (*bucket, *side, place)));
        let missing: Vec<_> = all.filter(|(_, _, place)| place.read().is_err()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let path = &picture.path;
        let bytes = read_image_bytes(path).map_err(ReadImageError::from)?;
        if sha256_of(&bytes) != picture.sha256 {
            return Err(DataError::Changed { path: path.clone() });
        }
        let image = decode_at_own_size(&bytes, path)?;
        let encoder = match &mut self.loaded {
            Some(encoder) => encoder,
            empty => empty.insert(self.pipeline.load_image_encoder(&mut |event| told(&event, self.observer))?),
        };
        for (bucket, side, place) in missing {
            let image = fit(&image, bucket, side).to_tensor(self.pipeline.device_of(VAE));
            let latents = encoder.encode(image, self.training.settings.tiling);
            let encoded = EncodedPicture::of(&latents).ok_or_else(|| DataError::NotFinite { path: path.clone() })?;
            place.write(&encoded)?;
        }
        Ok(())
    }
}
