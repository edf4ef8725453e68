//! The latents of a picture as a safetensors file.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use diffusion_core::LatentDistribution;
use diffusion_core::files::{Shown, open_regular_file};
use diffusion_lora::train::TrainingRandom;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::digest::Digest;
use crate::output::{WriteError, write_whole};

/// Entries of the header.
const FORMAT: (&str, &str) = ("format", "encoded picture 1");
const KEY: &str = "key";
const CHECKSUM: &str = "sha256";
/// Tensors, `[channels, height, width]`.
const MEAN: &str = "mean";
const STD: &str = "std";
/// Longer than any: the latents of 8192 x 8192 pixels take 134 MB.
const MOST_BYTES: u64 = 1 << 28;

/// Why the latents of a picture cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadLatentsError {
    /// The file cannot be read.
    #[error("cannot read the encoded picture {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is damaged, or another than its name says.
    #[error("{} is no undamaged encoded picture: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The latents that a picture may have, in the scale of the denoising network: a mean and a standard deviation for every number,
/// `[channels, height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EncodedPicture {
    shape: [usize; 3],
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl EncodedPicture {
    /// Of a picture alone; `None` if it has numbers that are not finite.
    pub(super) fn of(latents: &LatentDistribution) -> Option<Self> {
        let [_, channels, height, width] = latents.mean.dims();
        let values =
            |data: TensorData| data.try_into_vec::<f32>().ok().filter(|values| values.iter().all(|value| value.is_finite()));
        let (mean, std) = (values(latents.mean.to_data())?, values(latents.std.to_data())?);
        Some(Self { shape: [channels, height, width], mean, std })
    }

    /// Latents that are drawn anew, row by row.
    pub(super) fn sample(&self, random: &mut TrainingRandom) -> impl Iterator<Item = f32> {
        let noise = random.normals(self.mean.len());
        let numbers = self.mean.iter().zip(&self.std).zip(noise);
        numbers.map(|((mean, std), noise)| std.mul_add(noise, *mean))
    }

    pub(super) fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Write the file of a key.
    pub(super) fn write(&self, path: &Path, key: &str) -> Result<(), WriteError> {
        let (mean, std) = (bytes_of(&self.mean), bytes_of(&self.std));
        let header = [(FORMAT.0, FORMAT.1), (KEY, key), (CHECKSUM, &checksum(&mean, &std))];
        let header: HashMap<_, _> = header.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let view = |bytes| TensorView::new(Dtype::F32, self.shape.to_vec(), bytes);
        let serialized = view(&mean).and_then(|mean| Ok([(MEAN, mean), (STD, view(&std)?)]));
        let serialized = serialized.and_then(|tensors| safetensors::serialize(tensors, Some(header)));
        write_whole(path, |file| file.write_all(&serialized.map_err(io::Error::other)?))
    }

    /// Read the file of a key, which must have this shape.
    pub(super) fn read(path: &Path, key: &str, shape: [usize; 3]) -> Result<Self, ReadLatentsError> {
        let read = || {
            let mut bytes = Vec::new();
            open_regular_file(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| ReadLatentsError::Read { path: path.to_owned(), source })?;
        parse(&bytes, key, shape).map_err(|reason| ReadLatentsError::Damaged { path: path.to_owned(), reason })
    }
}

fn parse(bytes: &[u8], key: &str, shape: [usize; 3]) -> Result<EncodedPicture, String> {
    let said = |error: safetensors::SafeTensorError| Shown(&error.to_string()).to_string();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(said)?;
    let file = SafeTensors::deserialize(bytes).map_err(said)?;
    let entry = |name: &str| header.metadata().as_ref().and_then(|entries| entries.get(name)).map(String::as_str);
    if entry(FORMAT.0) != Some(FORMAT.1) || entry(KEY) != Some(key) {
        return Err("it is another file than its name says".to_owned());
    }
    let tensor = |name| {
        let tensor = file.tensor(name).map_err(said)?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            return Err(format!("its tensor {name} is {:?} of shape {:?}", tensor.dtype(), tensor.shape()));
        }
        Ok(tensor.data().to_vec())
    };
    let (mean, std) = (tensor(MEAN)?, tensor(STD)?);
    if entry(CHECKSUM) != Some(&checksum(&mean, &std)) {
        return Err("its numbers do not have the checksum that its header says".to_owned());
    }
    let numbers = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(EncodedPicture { shape, mean: numbers(&mean), std: numbers(&std) })
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn checksum(mean: &[u8], std: &[u8]) -> String {
    Digest::default().with(mean).with(std).hex()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burn::tensor::{Device, Tensor};

    use super::*;

    fn latents(mean: [f32; 2], std: [f32; 2]) -> LatentDistribution {
        let tensor = |values: [f32; 2]| Tensor::from_floats([[[values]]], &Device::default());
        LatentDistribution { mean: tensor(mean), std: tensor(std) }
    }

    #[test]
    fn what_is_written_is_read_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let encoded = EncodedPicture::of(&latents([1.5, -0.1], [0.5, 1e-30])).unwrap();
        encoded.write(&path, "key").unwrap();
        let read = || EncodedPicture::read(&path, "key", [1, 1, 2]);
        assert_eq!(read().unwrap(), encoded);
        let refused = |error: Result<EncodedPicture, ReadLatentsError>, words: &str| {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(EncodedPicture::read(&path, "other", [1, 1, 2]), "another file than its name says");
        refused(EncodedPicture::read(&path, "key", [1, 2, 1]), "of shape [1, 1, 2]");
        refused(EncodedPicture::read(folder.path(), "key", [1, 1, 2]), "cannot read");
        let whole = fs::read(&path).unwrap();
        for (index, reason) in [(whole.len() - 1, "checksum"), (0, "is no undamaged")] {
            let mut damaged = whole.clone();
            damaged[index] ^= 1;
            fs::write(&path, damaged).unwrap();
            refused(read(), reason);
        }
        fs::write(&path, &whole[..whole.len() - 4]).unwrap();
        refused(read(), "is no undamaged");
    }

    #[test]
    fn numbers_that_are_not_finite_are_not_kept() {
        assert!(EncodedPicture::of(&latents([f32::NAN, 0.0], [1.0, 1.0])).is_none());
        assert!(EncodedPicture::of(&latents([0.0, 0.0], [1.0, f32::INFINITY])).is_none());
    }

    #[test]
    fn samples_have_the_mean_and_the_deviation() {
        let encoded = EncodedPicture::of(&latents([3.0, -2.0], [0.0, 2.0])).unwrap();
        let draw = |index| encoded.sample(&mut TrainingRandom::new(5, 6, index)).collect::<Vec<_>>();
        let noise = TrainingRandom::new(5, 6, 7).normals(2);
        assert_eq!(draw(7), [3.0, 2.0f32.mul_add(noise[1], -2.0)]);
        assert_ne!(draw(7), draw(8));
    }
}
