//! Batches of pictures with captions.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_core::network::Conditioning;
use diffusion_lora::train::{Batch, Batches, TrainingRandom};
use diffusion_models::{ImageGeometry, PipelineError, PromptStoreError, read_encoded_prompt};

use super::bucket::Bucket;
use super::data_settings::DataSettings;
use super::epochs::Epochs;
use super::fingerprint::Fingerprint;
use super::latents_entry::ReadLatentsError;
use super::noise_levels::NoiseLevels;
use super::streams;
use super::summary::DataSummary;
use super::training_cache::Place;

/// Pictures with captions, encoded: gives the [`Batch`]es of a training run.
///
/// Everything that is drawn follows from the seed and the number of the batch: which pictures it has, their latents, noise and noise
/// levels, which captions are dropped, and which pictures are mirrored. Only what a batch consists of is read, from the
/// [`TrainingCache`](super::TrainingCache), which has to stay as long as there are batches to give.
#[derive(Clone, Debug)]
pub struct TrainingSet {
    pub(super) settings: DataSettings,
    pub(super) geometry: ImageGeometry,
    pub(super) device: Device,
    pub(super) levels: NoiseLevels,
    /// Each picture in each of its buckets.
    pub(super) samples: Vec<Sample>,
    /// Class pictures that go beside pictures of a bucket.
    pub(super) class_samples: BTreeMap<Bucket, Vec<Sample>>,
    /// There if captions are dropped.
    pub(super) empty_caption: Option<PathBuf>,
    pub(super) epochs: Epochs,
    pub(super) summary: DataSummary,
    pub(super) fingerprint: Fingerprint,
}

/// A picture in one of its buckets.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) bucket: Bucket,
    /// Where its latents are, as it is and perhaps mirrored.
    pub(super) sides: Vec<Place>,
    pub(super) caption: String,
    /// Where its caption is, encoded.
    pub(super) encoded_caption: PathBuf,
}

/// Why a batch cannot be given. Running the program again encodes what is missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A picture cannot be read.
    #[error(transparent)]
    Latents(#[from] ReadLatentsError),
    /// A caption cannot be read.
    #[error(transparent)]
    Caption(#[from] PromptStoreError),
    /// A caption cannot be encoded again.
    #[error(transparent)]
    TextEncoder(#[from] PipelineError),
}

impl TrainingSet {
    /// What there is, in numbers, and what may not be meant.
    pub fn summary(&self) -> &DataSummary {
        &self.summary
    }

    /// What a run that goes on has to find again.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The pictures of a batch, class pictures last, with their weights: the loss is the mean over the pictures, and that over the
    /// class pictures times the weight of these.
    fn members(&mut self, index: usize) -> Vec<(&Sample, f64)> {
        let mut random = self.random(streams::CLASS_PICTURES, index);
        let chosen = self.epochs.batch(index);
        let each = 1.0 / chosen.len() as f64;
        let mut members: Vec<_> = chosen.iter().map(|&sample| (&self.samples[sample], each)).collect();
        if let Some(class) = &self.settings.class_pictures {
            // All pictures of a batch are of one bucket, and every bucket in use has class pictures.
            let beside = &self.class_samples[&members[0].0.bucket];
            members.extend(chosen.iter().map(|_| (&beside[random.below(beside.len())], class.weight * each)));
        }
        members
    }

    fn random(&self, stream: u64, index: usize) -> TrainingRandom {
        TrainingRandom::new(self.settings.seed, stream, index as u64)
    }
}

impl Batches for TrainingSet {
    type Error = BatchError;

    fn batch(&mut self, index: usize) -> Result<Batch, BatchError> {
        let [mut latents_random, mut noise_random, mut level_random, mut dropout_random, mut flip_random] =
            [streams::LATENTS, streams::NOISE, streams::NOISE_LEVELS, streams::DROPOUT, streams::FLIPS]
                .map(|stream| self.random(stream, index));
        let (device, levels, geometry) = (self.device.clone(), self.levels.clone(), self.geometry);
        let (dropout, empty) = (self.settings.caption_dropout, self.empty_caption.clone());

        let members = self.members(index);
        let mut shape = [members.len(), 0, 0, 0];
        let (mut latents, mut noise) = (Vec::new(), Vec::new());
        let (mut sigmas, mut captions, mut conditioning) = (Vec::new(), Vec::new(), Vec::new());
        for (sample, _) in &members {
            // One picture takes the same numbers of each stream as any other.
            let (mirrored, dropped) = (flip_random.uniform() < 0.5, dropout_random.uniform() < dropout);
            let side = if mirrored { sample.sides.last() } else { sample.sides.first() };
            if let Some(place) = side {
                let picture = place.read()?;
                shape[1..].copy_from_slice(&picture.shape());
                latents.extend(picture.sample(&mut latents_random));
            }
            let tokens = sample.bucket.width / geometry.side_step() * (sample.bucket.height / geometry.side_step());
            sigmas.push(levels.draw(&mut level_random, tokens));
            let empty = empty.as_ref().filter(|_| dropped);
            captions.push(if empty.is_some() { String::new() } else { sample.caption.clone() });
            conditioning.push(read_encoded_prompt(empty.unwrap_or(&sample.encoded_caption), &device)?);
        }
        noise.extend(noise_random.normals(latents.len()));
        let tensor = |values| Tensor::from_data(TensorData::new(values, shape), (&device, DType::F32));
        Ok(Batch {
            latents: tensor(latents),
            noise: tensor(noise),
            sigmas,
            captions,
            conditioning: Conditioning::batch(&conditioning.iter().collect::<Vec<_>>()),
            weights: members.iter().map(|(_, weight)| *weight).collect(),
            names: members.iter().map(|(sample, _)| sample.name.clone()).collect(),
        })
    }
}
