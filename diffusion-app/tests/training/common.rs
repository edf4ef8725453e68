//! Folders of small pictures.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffusion_app::training::{
    DataError, DataEvent, DataSettings, NoiseLevels, PictureFolder, Pictures, TrainingCache, TrainingPictures, TrainingSet,
};
use diffusion_lora::train::{Batch, Batches};
use diffusion_models::{Pipeline, PipelineOptions};
use image::{Rgb, RgbImage};
use tempfile::TempDir;

/// A folder to make pictures in.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A picture that differs from others by its name and size.
    pub(crate) fn picture(&self, name: &str, width: u32, height: u32) -> &Self {
        let tone = name.bytes().fold(7_u8, |tone, byte| tone.wrapping_mul(31).wrapping_add(byte));
        let pixel = |x: u32, y: u32| Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, tone]);
        RgbImage::from_fn(width, height, pixel).save_with_format(self.at(name), image::ImageFormat::Png).unwrap();
        self
    }

    pub(crate) fn text(&self, name: &str, text: &str) -> &Self {
        self.bytes(name, text.as_bytes())
    }

    pub(crate) fn bytes(&self, name: &str, bytes: &[u8]) -> &Self {
        fs::write(self.at(name), bytes).unwrap();
        self
    }

    /// A picture with a caption beside.
    pub(crate) fn captioned(&self, stem: &str, width: u32, height: u32) -> &Self {
        self.picture(&format!("{stem}.png"), width, height).text(&format!("{stem}.txt"), &format!("a picture of {stem}"))
    }

    pub(crate) fn settings(&self) -> DataSettings {
        DataSettings {
            resolutions: vec![64],
            bucket_step: 32,
            ..DataSettings::new(PictureFolder::new(self.path()), pipeline().info())
        }
    }
}

pub(crate) fn go_on(_: DataEvent) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(crate) fn read(settings: &DataSettings) -> Result<TrainingPictures, DataError> {
    settings.read(pipeline().info(), &mut go_on)
}

/// The pictures of a folder, by `change` from one with captions of its own.
pub(crate) fn pictures(folder: &Folder, change: impl FnOnce(&mut PictureFolder)) -> Result<Pictures, DataError> {
    let mut pictures = PictureFolder::new(folder.path());
    change(&mut pictures);
    let buckets = diffusion_app::training::Buckets::new(&[64], 32, &pipeline().info().geometry).unwrap();
    pictures.read(&buckets, &mut go_on)
}

pub(crate) fn pipeline() -> Pipeline {
    Pipeline::open(&diffusion_app::embedded_model().unwrap(), &PipelineOptions::new(&Device::flex())).unwrap()
}

pub(crate) fn cache(folder: &Folder) -> TrainingCache {
    TrainingCache::open(folder.path(), "these tests").unwrap()
}

pub(crate) fn levels() -> NoiseLevels {
    NoiseLevels::new(|random, tokens| random.uniform() + 1000.0 * tokens as f64)
}

pub(crate) fn encoded(settings: &DataSettings, kept: &Folder) -> TrainingSet {
    read(settings).unwrap().encode(&mut pipeline(), &cache(kept), levels(), &mut go_on).unwrap()
}

/// All that is in a batch, to the bit.
pub(crate) fn bits(batch: &Batch) -> Vec<u64> {
    let tensors = [
        batch.latents.to_data(),
        batch.noise.to_data(),
        batch.conditioning.tokens.to_data(),
        batch.conditioning.pooled.to_data(),
    ];
    let numbers =
        tensors.into_iter().flat_map(|data| data.try_into_vec::<f32>().unwrap()).map(|number| u64::from(number.to_bits()));
    let levels = batch.sigmas.iter().chain(&batch.weights).map(|number| number.to_bits());
    numbers.chain(levels).chain(batch.names.iter().flat_map(|name| name.bytes().map(u64::from))).collect()
}

pub(crate) fn batch(set: &mut TrainingSet, index: usize) -> Batch {
    set.batch(index).unwrap()
}
