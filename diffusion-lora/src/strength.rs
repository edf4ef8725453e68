//! How strong a LoRA is: a number, or a dial that is turned while images are drawn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diffusion_core::weights::PatchStrength;

/// A strength that can be turned at any time, even from one step to the next. Clones are the same strength.
///
/// Matrices have their LoRA attached, and follow it. Parameters that are no matrices (biases, norms, kernels of convolutions)
/// keep the strength that it had when the set was applied; apply the set again to update them.
///
/// ```
/// use diffusion_lora::Strength;
///
/// let strength = Strength::new(1.0);
/// let same = strength.clone();
/// same.set(0.5);
/// assert_eq!(strength.get(), 0.5);
/// ```
#[derive(Clone, Debug)]
pub struct Strength(Arc<AtomicU64>);

impl Strength {
    /// A strength that starts at `value`. 1 is the strength that a LoRA was trained with, 0 is none.
    pub fn new(value: f64) -> Self {
        Self(Arc::new(AtomicU64::new(value.to_bits())))
    }

    /// The value of now.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// Turn it to `value`, for this strength and its clones.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// How strong a LoRA of a set is.
#[derive(Clone, Debug)]
pub(crate) enum LoraStrength {
    Fixed(f64),
    Variable(Strength),
}

impl LoraStrength {
    /// The value of now.
    pub(crate) fn get(&self) -> f64 {
        match self {
            Self::Fixed(strength) => *strength,
            Self::Variable(strength) => strength.get(),
        }
    }

    /// The strength in a patch's key. A variable one gets another number at every call: what cannot be attached keeps the
    /// strength of the time when its patch was made, so that patches of different times are different.
    pub(crate) fn key(&self) -> PatchStrength {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        match self {
            Self::Fixed(strength) => PatchStrength::Fixed(*strength),
            Self::Variable(_) => PatchStrength::Variable(COUNTER.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_variable_strength_are_never_equal() {
        let strength = LoraStrength::Variable(Strength::new(1.0));
        assert_ne!(strength.key(), strength.key());
        assert_eq!(LoraStrength::Fixed(0.5).key(), LoraStrength::Fixed(0.5).key());
    }
}
