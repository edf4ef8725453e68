//! Several LoRAs with their strengths, and a pipeline that draws with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Device;
use diffusion_core::weights::{ComponentId, ComponentPatches, PatchKey, PatchMode, PatchTarget, PatchWeights};

use crate::contribution::Contribution;
use crate::error::{LoraError, SetLorasError};
use crate::lora::Lora;
use crate::patch::LoraPatch;
use crate::report::Report;
use crate::strength::{LoraStrength, Strength};
use crate::vocabulary::{Resolved, Vocabulary};

/// LoRAs with their strengths, in the order in which they are applied.
///
/// The order of plain LoRAs does not matter: they add up. DoRA and replaced parameters work on what those before them made.
///
/// ```no_run
/// use diffusion_core::weights::PatchMode;
/// use diffusion_lora::{Lora, LoraSet, Strength};
///
/// let style = Lora::open("style.safetensors".as_ref())?;
/// let detail = Lora::open("detail.safetensors".as_ref())?;
/// let dial = Strength::new(0.5);
/// let set = LoraSet::new().with(&style, 0.8).with_variable(&detail, &dial).with_mode(PatchMode::Attach);
/// dial.set(0.2);
/// assert_eq!(set.loras().map(|(_, strength)| strength).collect::<Vec<_>>(), [0.8, 0.2]);
/// # Ok::<(), diffusion_lora::LoraError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct LoraSet {
    loras: Vec<(Lora, LoraStrength)>,
    mode: PatchMode,
    allow_mismatch: bool,
}

impl LoraSet {
    /// A set without LoRAs: every weight is the file's.
    pub fn new() -> Self {
        Self::default()
    }

    /// The set with one more LoRA. A `strength` of 1 is the one that it was trained with, 0 is none, and a negative one does
    /// the contrary.
    #[must_use]
    pub fn with(mut self, lora: &Lora, strength: f64) -> Self {
        self.loras.push((lora.clone(), LoraStrength::Fixed(strength)));
        self
    }

    /// The set with one more LoRA, whose strength may be turned while images are drawn.
    #[must_use]
    pub fn with_variable(mut self, lora: &Lora, strength: &Strength) -> Self {
        self.loras.push((lora.clone(), LoraStrength::Variable(strength.clone())));
        self
    }

    /// The set, fused with the weights (the default) or attached to them.
    #[must_use]
    pub fn with_mode(self, mode: PatchMode) -> Self {
        Self { mode, ..self }
    }

    /// The set, with what fits of a LoRA that does not fit completely. A LoRA of which nothing fits stays an error.
    #[must_use]
    pub fn allowing_mismatch(self) -> Self {
        Self { allow_mismatch: true, ..self }
    }

    /// The LoRAs and their strengths of now.
    pub fn loras(&self) -> impl Iterator<Item = (&Lora, f64)> {
        self.loras.iter().map(|(lora, strength)| (lora, strength.get()))
    }

    /// The patches of a model with these networks, their factors on `device` in f32, and a report for each LoRA.
    ///
    /// # Errors
    /// [`LoraError`] if one of the LoRAs does not fit, holds numbers that are not finite, or cannot be read.
    pub fn patches(&self, targets: &[PatchTarget], device: &Device) -> Result<(ComponentPatches, Vec<Report>), LoraError> {
        self.patches_by_device(targets, &|_| device.clone())
    }

    /// As [`patches`](Self::patches), the factors for each component on a device of its own.
    ///
    /// # Errors
    /// As [`patches`](Self::patches).
    pub fn patches_by_device(
        &self,
        targets: &[PatchTarget],
        device_of: &dyn Fn(ComponentId) -> Device,
    ) -> Result<(ComponentPatches, Vec<Report>), LoraError> {
        let vocabulary = Vocabulary::new(targets);
        let mut contributions: BTreeMap<(ComponentId, String), Vec<Contribution>> = BTreeMap::new();
        let mut reports = Vec::new();
        for (lora, strength) in &self.loras {
            let file = lora.file();
            if !strength.get().is_finite() {
                return Err(LoraError::Strength { path: file.path.clone(), strength: strength.get() });
            }
            let (resolved, report) = vocabulary.resolve(file);
            if report.num_matched() == 0 || !(report.fits() || self.allow_mismatch) {
                return Err(LoraError::DoesNotFit { report: Box::new(report) });
            }
            reports.push(report);
            // Nothing of it is read, so that a strength of 0 restores every bit.
            if matches!(strength, LoraStrength::Fixed(0.0)) {
                continue;
            }
            let key = PatchKey { adapter: file.id, strength: strength.key() };
            for Resolved { component, adapter, place } in resolved {
                let factors = adapter.tensors.load(&device_of(component))?;
                let parameter = place.parameter.clone();
                let contribution = Contribution::new(place, factors, strength.clone(), key);
                contributions.entry((component, parameter)).or_default().push(contribution);
            }
        }
        let mut patches = ComponentPatches::new();
        for ((component, parameter), contributions) in contributions {
            patches.entry(component).or_default().insert(parameter, Arc::new(LoraPatch::new(contributions)));
        }
        Ok((patches, reports))
    }
}

/// A pipeline that draws with LoRAs. Every pipeline whose weights can be [patched](PatchWeights) is one.
///
/// ```no_run
/// # fn draw<P: diffusion_core::weights::PatchWeights<Error = E>, E: std::error::Error + 'static>(pipeline: &mut P)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use diffusion_lora::{Lora, LoraSet, SetLoras};
///
/// let realism = Lora::open("realism_lora.safetensors".as_ref())?;
/// for report in pipeline.set_loras(&LoraSet::new().with(&realism, 0.8))? {
///     println!("{report}");
/// }
/// pipeline.set_loras(&LoraSet::new())?; // Every weight is the file's again, to the bit.
/// # Ok(())
/// # }
/// ```
pub trait SetLoras: PatchWeights {
    /// Draw with `set` from now on, in place of the set before, and report on each LoRA. Only weights that the two sets patch
    /// differently are touched; those that no LoRA patches any more are the file's again, to the bit.
    ///
    /// # Errors
    /// [`SetLorasError::Lora`] if a LoRA of the set cannot be used: nothing has changed then.
    fn set_loras(&mut self, set: &LoraSet) -> Result<Vec<Report>, SetLorasError<Self::Error>>
    where
        Self::Error: std::error::Error + 'static;
}

impl<P: PatchWeights> SetLoras for P {
    fn set_loras(&mut self, set: &LoraSet) -> Result<Vec<Report>, SetLorasError<P::Error>>
    where
        P::Error: std::error::Error + 'static,
    {
        let (patches, reports) = set.patches_by_device(&self.patch_targets(), &|component| self.device_of(component))?;
        if let Some(report) = reports.iter().find(|report| !report.widened.is_empty()) {
            let (path, module) = (report.path.clone(), report.widened[0].clone());
            return Err(LoraError::Control { path, module }.into());
        }
        self.patch_weights(patches, set.mode).map_err(SetLorasError::Pipeline)?;
        Ok(reports)
    }
}
