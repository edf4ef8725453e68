//! The tensors of an adapter, checked, and read when they are needed.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;

use super::factors::Factors;
use super::method::Method;
use super::module_tensors::ModuleTensors;
use super::role::Role;
use crate::error::LoraError;
use crate::peft_settings::PeftSettings;

/// The tensors of an adapter, their shapes checked against each other.
#[derive(Debug)]
pub(crate) struct AdapterTensors {
    tensors: ModuleTensors,
    pub(crate) method: Method,
    /// Rows and columns of what is added to the weight; a convolution's kernel counts among the columns. `[0, 0]` if there is a
    /// bias only.
    pub(crate) shape: [usize; 2],
    /// The inner dimension, if there is one.
    pub(crate) rank: Option<usize>,
    /// The alpha that the file gives, if it gives one.
    pub(crate) alpha: Option<f64>,
    /// What the product of the factors is multiplied with, before the user's strength.
    scale: f64,
    /// What was read, on the device where it was last asked for.
    loaded: Mutex<Option<(Device, Arc<Factors>)>>,
}

impl AdapterTensors {
    /// Check the tensors of a module, which is called `name` after its prefix. `settings` are PEFT's, if the file has some.
    ///
    /// # Errors
    /// [`LoraError`] if tensors are missing, do not fit together, or alpha cannot be read.
    pub(crate) fn new(tensors: ModuleTensors, name: &str, settings: Option<&PeftSettings>) -> Result<Self, LoraError> {
        let method = tensors.method()?;
        let (shape, rank) = tensors.shape(method)?;
        if method != Method::BiasOnly {
            tensors.check_magnitude(shape)?;
        }
        let alpha = match tensors.get(Role::Alpha) {
            Some(alpha) => tensors.finite(alpha)?.first().map(|&alpha| f64::from(alpha)),
            None => None,
        };
        let prefix = tensors.module().split('.').next().unwrap_or_default();
        let scale = match (rank, alpha) {
            (Some(rank), Some(alpha)) => alpha / rank as f64,
            (Some(rank), None) => settings.and_then(|settings| settings.scale(prefix, name, rank)).unwrap_or(1.0),
            // Factors that are whole have no rank to divide by, and their trainer writes an alpha that means nothing.
            (None, _) => 1.0,
        };
        Ok(Self { tensors, method, shape, rank, alpha, scale, loaded: Mutex::default() })
    }

    /// What people call an adapter of this kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self.method {
            Method::LowRank if self.tensors.has(Role::Magnitude) => "DoRA",
            Method::LowRank => "LoRA",
            Method::Hadamard => "LoHa",
            Method::Kronecker => "LoKr",
            Method::Difference => "difference",
            Method::Replacement => "replacement",
            Method::BiasOnly => "bias",
        }
    }

    /// How many tensors there are.
    pub(crate) fn num_tensors(&self) -> usize {
        self.tensors.len()
    }

    /// Length of the bias that is added, if one is.
    pub(crate) fn bias_len(&self) -> Option<usize> {
        self.tensors.get(Role::BiasDifference).map(|bias| bias.shape().iter().product())
    }

    /// Read the tensors, or get what was read before.
    ///
    /// # Errors
    /// [`LoraError::NotFinite`], or [`LoraError::Checkpoint`] if the file cannot be read any more.
    pub(crate) fn load(&self, device: &Device) -> Result<Arc<Factors>, LoraError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((on, factors)) = &*loaded
            && on == device
        {
            return Ok(factors.clone());
        }
        let factors = Arc::new(self.tensors.factors(self.method, self.shape, self.scale, device)?);
        *loaded = Some((device.clone(), factors.clone()));
        Ok(factors)
    }
}
