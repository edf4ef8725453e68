//! Writing trained adapters into a file.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::path::Path;
use std::str::FromStr;

use diffusion_core::checkpoint::write::{About, CheckpointWriter, Container, TensorSpec};
use diffusion_core::checkpoint::{Arrangement, Layout};
use diffusion_core::format::Format;
use diffusion_core::weights::PatchTarget;
use sha2::{Digest, Sha256};

use super::error::TrainedLoraError;
use super::matrix::Matrix;
use super::naming;
use super::notes::TrainingNotes;
use super::peft_entry::{HEADER_KEY, WrittenModule, peft_entry, usual_rank_and_alpha};
use super::published::{PublishedModule, published};
use super::spelling::LoraSpelling;
use super::trained_module::{TrainedFactors, TrainedModule};
use crate::train::unknown_name::{UnknownName, by_name};

/// In which numbers factors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FactorFormat {
    /// As they were trained.
    #[default]
    F32,
    /// Half precision, as most published LoRAs.
    F16,
    /// The range of f32 with 8 bits of precision.
    BF16,
}

const FORMATS: [(&str, FactorFormat); 3] = [("f32", FactorFormat::F32), ("f16", FactorFormat::F16), ("bf16", FactorFormat::BF16)];

impl FactorFormat {
    /// The name, which [`FromStr`] parses.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        }
    }

    fn format(self) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::F16 => Format::F16,
            Self::BF16 => Format::BF16,
        }
    }
}

impl Display for FactorFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FactorFormat {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name("format of factors", &FORMATS, name)
    }
}

/// Trained adapters, and how they are to be written.
#[derive(Clone, Copy, Debug)]
pub struct TrainedLora<'a> {
    /// The adapters, in any order.
    pub modules: &'a [TrainedModule],
    /// The networks that they are of.
    pub targets: &'a [PatchTarget],
    /// How modules are named.
    pub spelling: LoraSpelling,
    /// In which numbers factors are written. Alphas are in f32 whatever it is.
    pub format: FactorFormat,
    /// What the file says about the training.
    pub notes: &'a TrainingNotes,
}

/// All that a file will hold.
#[derive(Debug, Default)]
struct Contents {
    /// By name, which is their order in the file.
    tensors: BTreeMap<String, Matrix>,
    /// Those with low-rank factors.
    low_rank: Vec<WrittenModule>,
    /// Those with Kronecker products.
    kronecker: Vec<WrittenModule>,
}

impl TrainedLora<'_> {
    /// Write the file, whole or not at all. The same adapters give the same bytes.
    ///
    /// # Errors
    /// [`TrainedLoraError`] if an adapter does not fit its weight, the spelling has no name for it, a number is not finite or
    /// beyond the format, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TrainedLoraError> {
        let Contents { tensors, low_rank, kronecker } = self.contents(path)?;
        let tensors: Vec<(TensorSpec, Vec<u8>)> =
            tensors.into_iter().map(|(name, matrix)| self.narrowed(name, matrix)).collect::<Result<_, _>>()?;
        let hash = tensors.iter().fold(Sha256::new(), |hash, (_, bytes)| hash.chain_update(bytes)).finalize();
        let mut entries = self.notes.entries(&hexadecimal(&hash), usual_rank_and_alpha(low_rank.iter().chain(&kronecker)));
        // Without one, diffusers takes alpha for the rank.
        if self.spelling == LoraSpelling::Diffusers && !low_rank.is_empty() {
            entries.insert(HEADER_KEY.to_owned(), peft_entry(&low_rank));
        }
        let about = About { entries, ..About::default() };
        let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let mut writer = CheckpointWriter::create_about(path, Container::Safetensors, specs, &about)?;
        for (_, bytes) in &tensors {
            writer.append(bytes)?;
        }
        Ok(writer.finish()?)
    }

    /// Whether everything could be written, apart from the disk: for the start of a training, with the adapters that it begins
    /// with.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn check(&self, path: &Path) -> Result<(), TrainedLoraError> {
        let tensors = self.contents(path)?.tensors;
        tensors.into_iter().try_for_each(|(name, matrix)| self.narrowed(name, matrix).map(drop))
    }

    fn contents(&self, path: &Path) -> Result<Contents, TrainedLoraError> {
        if self.modules.is_empty() {
            return Err(TrainedLoraError::Empty { path: path.to_owned() });
        }
        let is_low_rank = |module: &&TrainedModule| matches!(module.factors, TrainedFactors::LowRank { .. });
        let (low_rank, kronecker): (Vec<_>, Vec<_>) = self.modules.iter().partition(is_low_rank);
        let mut contents = Contents::default();
        for module in published(&low_rank, self.targets, self.spelling.layout())? {
            contents.add_low_rank(&module, self.spelling)?;
        }
        // Kronecker products of parts are none of the fused matrix.
        for module in published(&kronecker, self.targets, Layout::Diffusers)? {
            contents.add_kronecker(&module)?;
        }
        Ok(contents)
    }

    /// A tensor as the file holds it.
    fn narrowed(&self, name: String, matrix: Matrix) -> Result<(TensorSpec, Vec<u8>), TrainedLoraError> {
        let format = if name.ends_with(naming::ALPHA) { Format::F32 } else { self.format.format() };
        let fits = |value: f32| value.abs() <= format.largest();
        if let Some(&value) = matrix.values.iter().find(|&&value| !fits(value)) {
            return Err(TrainedLoraError::Number { module: name, value, format: self.format.name() });
        }
        let mut bytes = vec![0; format.num_bytes(matrix.values.len()).unwrap_or_default()];
        format.narrow(&matrix.values, &mut bytes);
        Ok((TensorSpec { name, shape: matrix.shape, format }, bytes))
    }
}

impl Contents {
    fn add_low_rank(&mut self, module: &PublishedModule<'_>, spelling: LoraSpelling) -> Result<(), TrainedLoraError> {
        let name = spelling.low_rank_name(module).ok_or_else(|| unnamed(module))?;
        let part_of_magnitude = |_| TrainedLoraError::PartOfMagnitude { module: name.clone(), spelling };
        let values = module.low_rank().map_err(part_of_magnitude)?;
        self.low_rank.push(WrittenModule {
            network: naming::network(module.target).unwrap_or_default(),
            module: module.name.clone(),
            rank: values.rank,
            alpha: values.alpha,
            is_dora: values.magnitude.is_some(),
        });
        self.add(&name, spelling.low_rank_tensors(values));
        Ok(())
    }

    fn add_kronecker(&mut self, module: &PublishedModule<'_>) -> Result<(), TrainedLoraError> {
        let name = naming::kronecker_name(module).ok_or_else(|| unnamed(module))?;
        if module.tensor.parts.len() != 1 {
            return Err(unnamed(module));
        }
        // Rows of a product cannot change places.
        if module.tensor.arrangement != Arrangement::Same {
            return Err(TrainedLoraError::RowsOfProduct { module: module.name.clone() });
        }
        for trained in module.parts.values() {
            let network = naming::network(module.target).unwrap_or_default();
            let (module, rank) = (module.name.clone(), trained.rank);
            self.kronecker.push(WrittenModule { network, module, rank, alpha: trained.alpha, is_dora: false });
            self.add(&name, naming::kronecker_tensors(trained));
        }
        Ok(())
    }

    fn add(&mut self, name: &str, tensors: Vec<(&'static str, Matrix)>) {
        self.tensors.extend(tensors.into_iter().map(|(ending, matrix)| (format!("{name}{ending}"), matrix)));
    }
}

/// There is no name for what is done to a module.
fn unnamed(module: &PublishedModule<'_>) -> TrainedLoraError {
    let parameter = module.parts.values().next().map_or_else(|| module.name.clone(), |trained| trained.parameter.clone());
    TrainedLoraError::Parameter { component: module.target.component, parameter }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        // Writing into a text cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
