//! 8-bit floats that are to be multiplied with a scale.

use super::comfy_quant::{self, Note};
use super::error::CheckpointError;
use super::stored_tensor::{StoredTensor, Tensors};
use crate::format::Format;

/// Give scaled fp8 weights their scales, and take the scales and markers out of the list.
///
/// Such files carry `X.scale_weight` (or `X.weight_scale`) beside `X.weight`, `X.scale_input` for the inputs of fp8
/// products, which are not used when weights are widened, and a marker `scaled_fp8`: at the top, or at the top of the part
/// of an all-in-one file that it is about. Newer ones have a [note](comfy_quant) for each weight instead.
pub(super) fn attach_scales(mut tensors: Tensors) -> Result<Tensors, CheckpointError> {
    let noted = apply_notes(&mut tensors)?;
    let marked_parts: Vec<String> = tensors.keys().filter_map(|name| marked_part(name)).map(str::to_owned).collect();
    let scales: Vec<(String, String)> = tensors
        .keys()
        .filter_map(|name| {
            let layer = name.strip_suffix(".scale_weight").or_else(|| name.strip_suffix(".weight_scale"))?;
            Some((name.clone(), format!("{layer}.weight")))
        })
        .filter(|(_, weight)| tensors.get(weight).is_some_and(|weight| weight.format().is_fp8()))
        .collect();
    for (scale_name, weight_name) in &scales {
        let (Some(scale), Some(weight)) = (tensors.remove(scale_name), tensors.remove(weight_name)) else { continue };
        tensors.insert(weight_name.clone(), weight.with_scale(scale_of(&scale, scale_name)?));
    }
    let unscaled = |(name, tensor): &(&String, &StoredTensor)| {
        let is_weight = tensor.format().is_fp8() && tensor.scale().is_none() && name.ends_with(".weight");
        is_weight && (noted.contains(name) || marked_parts.iter().any(|part| name.starts_with(part)))
    };
    if let Some((name, tensor)) = tensors.iter().find(unscaled) {
        let ending = if noted.contains(name) { "weight_scale" } else { "scale_weight" };
        let tensor_scale = format!("{}.{ending}", name.trim_end_matches(".weight"));
        return Err(CheckpointError::MissingScale { path: tensor.path().to_owned(), tensor: name.clone(), tensor_scale });
    }
    let is_input_scale = |name: &str| name.ends_with(".scale_input") || name.ends_with(".input_scale");
    tensors.retain(|name, _| marked_part(name).is_none() && !is_input_scale(name));
    Ok(tensors)
}

/// One number for the whole tensor.
fn scale_of(scale: &StoredTensor, name: &str) -> Result<f32, CheckpointError> {
    let is_one = scale.shape().iter().all(|&size| size == 1);
    let found = match is_one.then(|| scale.to_f32()).transpose()?.as_deref() {
        Some(&[value]) if value.is_finite() => return Ok(value),
        Some(&[value]) => value.to_string(),
        _ => format!("{} of shape {:?}", scale.format(), scale.shape()),
    };
    Err(CheckpointError::DType {
        path: scale.path().to_owned(),
        tensor: name.to_owned(),
        expected: "one scale for the whole tensor",
        found,
    })
}

/// Take the notes out of the list, and see weights as what is noted of them; the names of these weights.
fn apply_notes(tensors: &mut Tensors) -> Result<Vec<String>, CheckpointError> {
    let mut noted = Vec::new();
    let notes: Vec<(String, Note, StoredTensor)> =
        comfy_quant::notes(tensors)?.into_iter().map(|(layer, (note, place))| (layer, note, place.clone())).collect();
    for (layer, note, place) in notes {
        let misfit = |found: String, expected| CheckpointError::Note {
            path: place.path().to_owned(),
            note: place.name().to_owned(),
            found,
            expected,
        };
        if let Some(setting) = note.unknown_setting() {
            return Err(misfit(format!("the setting {setting}"), "settings that are known"));
        }
        let name = format!("{layer}.weight");
        // Other formats were refused by their names.
        let Some(format) = note.scaled_format() else { continue };
        let Some(weight) = tensors.remove(&name) else {
            return Err(misfit(format!("no {name}"), "a weight that it is about"));
        };
        // Programs without a type of 8-bit floats keep them as bytes.
        let is_bytes = weight.format() == Format::Other(safetensors::Dtype::U8);
        if weight.format() != format && !is_bytes {
            return Err(misfit(format!("{name} in {}", weight.format()), "a weight in the format that it names"));
        }
        tensors.insert(name.clone(), weight.with_format_of_same_size(format));
        noted.push(name);
    }
    tensors.retain(|name, _| comfy_quant::layer_of(name).is_none());
    Ok(noted)
}

/// The part of the file that a marker is about: a prefix of names.
fn marked_part(name: &str) -> Option<&str> {
    name.strip_suffix("scaled_fp8").filter(|part| part.is_empty() || part.ends_with('.'))
}
