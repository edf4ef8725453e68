//! Strengths that are turned while images are drawn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diffusion_core::weights::PatchStrength;

/// A strength that can be turned at any time, from one step to the next too. Clones are the same strength.
///
/// Weights that it is for have their LoRA attached. Parameters that are no matrices (biases, norms, kernels of convolutions)
/// keep the strength that it had when the set was applied.
#[derive(Clone, Debug)]
pub struct Strength(Arc<AtomicU64>);

impl Strength {
    /// A strength of `value` for now.
    pub fn new(value: f64) -> Self {
        Self(Arc::new(AtomicU64::new(value.to_bits())))
    }

    /// What it is now.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// Turn it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// How strong a LoRA of a set is.
#[derive(Clone, Debug)]
pub(crate) enum Scale {
    Fixed(f64),
    Variable(Strength),
}

impl Scale {
    /// What tells patches of this strength from others. A variable one is another whenever it is asked for, because what
    /// cannot be attached keeps the strength of the time when its patch was made.
    pub(crate) fn key(&self) -> PatchStrength {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        match self {
            Self::Fixed(scale) => PatchStrength::Fixed(*scale),
            Self::Variable(_) => PatchStrength::Variable(COUNTER.fetch_add(1, Ordering::Relaxed)),
        }
    }

    pub(crate) fn get(&self) -> f64 {
        match self {
            Self::Fixed(scale) => *scale,
            Self::Variable(strength) => strength.get(),
        }
    }
}
