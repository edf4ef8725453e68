//! What is known of a model.

use diffusion_core::weights::ComponentId;
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL};

use crate::hub::HubReference;

/// A released model, or a finetune of one.
#[derive(Debug)]
pub struct KnownModel {
    /// The name that is typed.
    pub name: &'static str,
    /// What its authors call it.
    pub title: &'static str,
    /// Its licence.
    pub licence: &'static str,
    /// The repository whose page tells about it.
    pub repository: &'static str,
    /// What it can be drawn with; the first is the one that its authors published.
    pub variants: &'static [KnownVariant],
}

/// A model in one number format.
#[derive(Debug)]
pub struct KnownVariant {
    /// The name that is typed after a colon.
    pub name: &'static str,
    /// Whether a repository asks to log in and to accept terms.
    pub access: Access,
    /// Where its components come from.
    pub parts: &'static [KnownPart],
}

/// Whether a repository asks for something before it gives its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It does not.
    Open,
    /// It asks to log in and to accept terms.
    Gated,
}

/// A repository, or a file of one, with the components that are taken from it.
#[derive(Debug)]
pub struct KnownPart {
    /// Which component it is given as; the transformer's is given as the model.
    pub component: ComponentId,
    /// `ORG/NAME`, or `ORG/NAME:FILE`.
    pub source: &'static str,
    /// Bytes of each component in it.
    pub sizes: &'static [(ComponentId, u64)],
}

impl KnownModel {
    /// The name of a variant as it is typed: that of the model alone for the first one.
    pub fn name_of(&self, variant: &KnownVariant) -> String {
        if variant.name == self.variants[0].name { self.name.to_owned() } else { format!("{}:{}", self.name, variant.name) }
    }

    /// Whether a variant needs no more than `available` bytes of memory, with what an image takes besides the weights.
    pub fn fits(variant: &KnownVariant, available: u64) -> bool {
        variant.memory() + WORKING_MEMORY <= available
    }

    /// A sentence where a variant needs more than `available` bytes of memory, with the one that would fit.
    pub fn memory_advice(&self, variant: &KnownVariant, available: u64) -> Option<String> {
        if Self::fits(variant, available) {
            return None;
        }
        let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
        let fitting = self.fitting(available);
        let fitting = fitting.map(|fitting| format!("; {} would fit ({})", self.name_of(fitting), gigabytes(fitting.memory())));
        Some(format!(
            "{} holds {} of weights at once, and {} of memory are free, so weights are read from disk in every step{}",
            self.name_of(variant),
            gigabytes(variant.memory()),
            gigabytes(available),
            fitting.unwrap_or_default()
        ))
    }

    /// The largest variant that memory of this size holds.
    pub fn fitting(&self, available: u64) -> Option<&'static KnownVariant> {
        let fitting = self.variants.iter().filter(|variant| Self::fits(variant, available));
        fitting.max_by_key(|variant| variant.memory())
    }
}

/// Bytes that are set aside for what an image of 1024 x 1024 pixels takes besides the weights.
const WORKING_MEMORY: u64 = 3_000_000_000;

impl KnownVariant {
    /// Bytes on disk.
    pub fn disk(&self) -> u64 {
        self.sizes().map(|(_, bytes)| bytes).sum()
    }

    /// Bytes of weights that are in memory at once: the text encoders together, or the largest other component.
    pub fn memory(&self) -> u64 {
        let is_text = |id: ComponentId| [CLIP_L, CLIP_G, T5XXL].contains(&id);
        let text = self.sizes().filter(|(id, _)| is_text(*id)).map(|(_, bytes)| bytes).sum();
        let others = self.sizes().filter(|(id, _)| !is_text(*id)).map(|(_, bytes)| bytes);
        others.fold(text, u64::max)
    }

    pub(super) fn sizes(&self) -> impl Iterator<Item = (ComponentId, u64)> {
        self.parts.iter().flat_map(|part| part.sizes).copied()
    }
}

impl KnownPart {
    /// Where it is.
    ///
    /// # Panics
    /// If the table has something else there, which a test excludes.
    pub fn reference(&self) -> HubReference {
        HubReference::parse(self.source).expect("the table has references")
    }
}
