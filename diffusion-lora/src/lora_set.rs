//! Several LoRAs with their strengths, and a pipeline that draws with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Device;
use diffusion_core::weights::{ComponentId, ComponentPatches, PatchKey, PatchMode, PatchTarget, PatchWeights};

use crate::error::{LoraError, SetLorasError};
use crate::lora::Lora;
use crate::patch::{Action, Contribution, LoraPatch};
use crate::report::Report;
use crate::resolve::Vocabulary;
use crate::strength::{Scale, Strength};

/// LoRAs with their strengths, in the order in which they are applied.
///
/// Plain LoRAs add up in any order. DoRA and replaced parameters work on what those before them made.
#[derive(Clone, Debug, Default)]
pub struct LoraSet {
    loras: Vec<(Lora, Scale)>,
    mode: PatchMode,
    allow_mismatch: bool,
}

impl LoraSet {
    /// No LoRA.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more LoRA. A `scale` of 1 is the strength that it was trained with, 0 is none; below 0 it does the contrary.
    #[must_use]
    pub fn with(mut self, lora: &Lora, scale: f64) -> Self {
        self.loras.push((lora.clone(), Scale::Fixed(scale)));
        self
    }

    /// One more LoRA, whose strength is turned while images are drawn.
    #[must_use]
    pub fn with_variable(mut self, lora: &Lora, strength: &Strength) -> Self {
        self.loras.push((lora.clone(), Scale::Variable(strength.clone())));
        self
    }

    /// Whether LoRAs are fused with the weights, or attached to them.
    #[must_use]
    pub fn with_mode(self, mode: PatchMode) -> Self {
        Self { mode, ..self }
    }

    /// Use what fits of a LoRA that does not fit completely. A LoRA of which nothing fits stays an error.
    #[must_use]
    pub fn allowing_mismatch(self) -> Self {
        Self { allow_mismatch: true, ..self }
    }

    /// The LoRAs and their strengths of now.
    pub fn loras(&self) -> impl Iterator<Item = (&Lora, f64)> {
        self.loras.iter().map(|(lora, scale)| (lora, scale.get()))
    }

    /// The patches of a model with these networks, and a report for each LoRA.
    ///
    /// # Errors
    /// [`LoraError`] if one of them does not fit, holds numbers that are not finite, or cannot be read.
    pub fn patches(&self, targets: &[PatchTarget], device: &Device) -> Result<(ComponentPatches, Vec<Report>), LoraError> {
        let vocabulary = Vocabulary::new(targets);
        let mut contributions: BTreeMap<(ComponentId, String), Vec<Contribution>> = BTreeMap::new();
        let mut reports = Vec::new();
        for (lora, scale) in &self.loras {
            let file = lora.file();
            if !scale.get().is_finite() {
                return Err(LoraError::Scale { path: file.path.clone(), scale: scale.get() });
            }
            let (places, report) = vocabulary.resolve(file);
            if report.num_matched() == 0 || !(report.fits() || self.allow_mismatch) {
                return Err(LoraError::DoesNotFit { report: Box::new(report) });
            }
            reports.push(report);
            // Nothing of it is read, so that a strength of 0 restores every bit.
            if matches!(scale, Scale::Fixed(0.0)) {
                continue;
            }
            let key = PatchKey { adapter: file.id, strength: scale.key() };
            for place in places {
                let (rows, halves_swapped) = (place.rows, place.halves_swapped);
                let action = if place.is_bias {
                    Action::Bias { rows, halves_swapped }
                } else {
                    let fused = place.fused;
                    Action::Weight { method: place.adapter.tensors.method, rows, halves_swapped, fused }
                };
                let factors = place.adapter.tensors.load(device)?;
                let contribution = Contribution { factors, action, scale: scale.clone(), key, column_lengths: None };
                contributions.entry((place.component, place.parameter)).or_default().push(contribution);
            }
        }
        let mut patches = ComponentPatches::new();
        for ((component, parameter), contributions) in contributions {
            patches.entry(component).or_default().insert(parameter, Arc::new(LoraPatch::new(contributions)));
        }
        Ok((patches, reports))
    }
}

/// A pipeline that draws with LoRAs.
pub trait SetLoras: PatchWeights {
    /// Draw with `set` from now on, in place of the set before. Only weights that the two sets change differently are
    /// touched; those that no LoRA changes any more are the file's again, to the bit.
    ///
    /// # Errors
    /// [`SetLorasError::Lora`] if one of the set cannot be used: nothing has changed then.
    fn set_loras(&mut self, set: &LoraSet) -> Result<Vec<Report>, SetLorasError<Self::Error>>
    where
        Self::Error: std::error::Error + 'static;
}

impl<P: PatchWeights> SetLoras for P {
    fn set_loras(&mut self, set: &LoraSet) -> Result<Vec<Report>, SetLorasError<P::Error>>
    where
        P::Error: std::error::Error + 'static,
    {
        let (patches, reports) = set.patches(&self.patch_targets(), &self.device())?;
        if let Some(report) = reports.iter().find(|report| !report.widened.is_empty()) {
            let (path, module) = (report.path.clone(), report.widened[0].clone());
            return Err(LoraError::Control { path, module }.into());
        }
        self.patch_weights(patches, set.mode).map_err(SetLorasError::Pipeline)?;
        Ok(reports)
    }
}
