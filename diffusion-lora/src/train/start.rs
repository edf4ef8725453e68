//! Going on from a LoRA file.

use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::Arrangement;
use diffusion_core::weights::PatchTarget;

use super::adapter::{Method, Part, TrainedAdapter};
use super::targets::trainable_layers;
use crate::error::LoraError;
use crate::lora::Lora;
use crate::place::PlaceKind;
use crate::vocabulary::{Resolved, Vocabulary};

/// The adapters of a LoRA file, to be trained further, in the order of the paths of their matrices. A module that a file adapts as
/// one where the network has several matrices becomes several adapters.
///
/// # Errors
/// [`LoraError::DoesNotFit`] if a part of the file fits none of these networks; [`LoraError::NotTrainable`] if it holds adapters
/// of other kinds than LoRA and DoRA; [`LoraError`] if it cannot be read.
pub fn adapters_of(lora: &Lora, targets: &[PatchTarget], device: &Device) -> Result<Vec<TrainedAdapter>, LoraError> {
    let (resolved, report) = Vocabulary::new(targets).resolve(lora.file());
    if report.num_matched() == 0 || !report.fits() {
        return Err(LoraError::DoesNotFit { report: Box::new(report) });
    }
    let mut adapters = Vec::new();
    for Resolved { component, adapter, place } in resolved {
        let not_trainable = || LoraError::NotTrainable {
            path: lora.path().to_owned(),
            module: adapter.key.clone(),
            kind: adapter.tensors.kind(),
        };
        let factors = adapter.tensors.load(device)?;
        let is_plain = place.arrangement == Arrangement::Same && factors.bias.is_none();
        let low_rank = factors.low_rank_beside_magnitude(place.rows.clone()).filter(|_| is_plain);
        let (up, down) = low_rank.ok_or_else(not_trainable)?;
        let target = targets.iter().find(|target| target.component == component).ok_or_else(not_trainable)?;
        let layer = trainable_layers(target).find(|layer| layer.parameter == place.parameter).ok_or_else(not_trainable)?;
        let magnitude = factors.magnitude.as_ref().filter(|_| place.kind == PlaceKind::Weight);
        let mut parts = vec![(Part::Down, down), (Part::Up, up)];
        if let Some(magnitude) = magnitude {
            let is_of_rows = magnitude.dims()[1] == 1;
            let rows = magnitude.clone().narrow(0, place.rows.start, if is_of_rows { place.rows.len() } else { 1 });
            parts.push((Part::Magnitude, Some(rows).filter(|_| is_of_rows).ok_or_else(not_trainable)?));
        }
        let method = if magnitude.is_some() { Method::Dora } else { Method::Lora };
        let rank = parts[0].1.dims()[0];
        let alpha = factors.scale * rank as f64;
        let parts = parts.into_iter().map(|(part, value)| (part, own(value))).collect();
        adapters.push(TrainedAdapter::from_parts(component, layer, method, rank, alpha, parts));
    }
    adapters.sort_by(|a, b| (a.component, &a.layer.parameter).cmp(&(b.component, &b.layer.parameter)));
    Ok(adapters)
}

/// The matrix in memory of its own: it is changed in place, and others may have a part of it.
fn own(matrix: Tensor<2>) -> Tensor<2> {
    Tensor::from_data(matrix.to_data(), &matrix.device())
}
