//! The tensors of an adapter, checked, and read when they are needed.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;

use super::factors::Factors;
use super::method::Method;
use super::module_tensors::ModuleTensors;
use super::role::Role;
use crate::error::LoraError;
use crate::peft_settings::ModuleSettings;

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
    /// The alpha that the file gives, if it gives one that means something.
    pub(crate) alpha: Option<f64>,
    /// What the product of the factors is multiplied with, before the user's strength.
    scale: f64,
    /// What was read, on the device where it was last asked for.
    loaded: Mutex<Option<(Device, Arc<Factors>)>>,
}

impl AdapterTensors {
    /// Check the tensors of a module. `settings` are PEFT's for it, if the file has some.
    ///
    /// # Errors
    /// [`LoraError`] if tensors are missing, do not fit together, have no use, or alpha cannot be read.
    pub(crate) fn new(tensors: ModuleTensors, settings: Option<&ModuleSettings>) -> Result<Self, LoraError> {
        let method = tensors.method()?;
        let (shape, rank) = tensors.shape(method)?;
        tensors.check_others(method, shape)?;
        // Without a rank to divide by, an alpha means nothing, and trainers write what they like.
        let alpha = if rank.is_some() { tensors.alpha()? } else { None };
        let scale = match (rank, alpha) {
            (Some(rank), Some(alpha)) => alpha / rank as f64,
            _ => settings.and_then(|settings| settings.scale(rank)).unwrap_or(1.0),
        };
        Ok(Self { tensors, method, shape, rank, alpha, scale, loaded: Mutex::default() })
    }

    /// What people call an adapter of this kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self.method {
            Method::LowRank if self.tensors.has(Role::Magnitude) => "DoRA",
            method => method.name(),
        }
    }

    /// How many tensors there are.
    pub(crate) fn num_tensors(&self) -> usize {
        self.tensors.len()
    }

    /// Length of the bias that is added, if one is.
    pub(crate) fn bias_len(&self) -> Option<usize> {
        self.tensors.bias().map(|bias| bias.shape().iter().product())
    }

    /// The dimensions of the weight after the first, if a tensor of more than two tells them.
    pub(crate) fn trailing_dimensions(&self) -> Option<&[usize]> {
        let role = match self.method {
            Method::LowRank if !self.tensors.has(Role::Mid) => Role::Down,
            Method::Difference => Role::Difference,
            Method::Replacement => Role::Replacement,
            _ => return None,
        };
        self.tensors.get(role)?.shape().get(1..).filter(|trailing| trailing.len() > 1)
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
