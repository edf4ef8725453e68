//! Weights in formats that are not read, known by their names.
//!
//! Without this, they would be refused for shapes that nobody who downloaded a whole file understands.

use std::path::Path;

use safetensors::Dtype;
use serde_json::Value;

use super::comfy_quant;
use super::error::CheckpointError;
use super::stored_tensor::Tensors;
use crate::format::Format;
use crate::model_path;

const IN_4_BITS: &str = "download a GGUF file of the same model, which in Q4_K or Q4_0 is about as small";
const IN_8_BITS: &str = "download the same model in fp8, or as a GGUF file in Q8_0, which is about as small";
const ANY: &str = "download the same model in bf16 or fp8, or as a GGUF file";

/// A format by the endings of tensor names that its files have, all of them.
struct Sign {
    endings: &'static [&'static str],
    format: &'static str,
    advice: &'static str,
}

const fn sign(endings: &'static [&'static str], format: &'static str, advice: &'static str) -> Sign {
    Sign { endings, format, advice }
}

/// The first one counts that a file has.
const SIGNS: &[Sign] = &[
    sign(&[".quant_state.bitsandbytes__nf4"], "bitsandbytes NF4", IN_4_BITS),
    sign(&[".quant_state.bitsandbytes__fp4"], "bitsandbytes FP4", IN_4_BITS),
    sign(&[".absmax", ".quant_map"], "bitsandbytes with 4 or 8 bits", IN_4_BITS),
    sign(&[".SCB"], "bitsandbytes int8", IN_8_BITS),
    sign(&[".qweight", ".wscales"], "SVDQuant (Nunchaku)", IN_4_BITS),
    sign(&[".qweight", ".qzeros", ".g_idx"], "GPTQ", IN_4_BITS),
    sign(&[".qweight", ".qzeros"], "AWQ", IN_4_BITS),
    sign(&[".qweight"], "packed integers (qweight)", IN_4_BITS),
    sign(&["._data", "._scale"], "optimum-quanto", IN_8_BITS),
    sign(&["._weight_qdata"], "torchao", IN_8_BITS),
    sign(&[".weight_scale_2"], "NVFP4", IN_4_BITS),
    sign(&[".pre_quant_scale"], "ModelOpt AWQ", IN_4_BITS),
    sign(&[".weight_scale_inv"], "fp8 with a scale for every block", IN_8_BITS),
    sign(&[".W_q"], "HQQ", IN_4_BITS),
];

/// What `ComfyUI` calls formats, or how the names start.
const COMFY_FORMATS: &[(&str, &str, &str)] = &[
    ("nvfp4", "NVFP4", IN_4_BITS),
    ("mxfp8", "MXFP8", IN_8_BITS),
    ("mxfp4", "MXFP4", IN_4_BITS),
    ("int8", "int8", IN_8_BITS),
    ("convrot_w4a4", "int4", IN_4_BITS),
    ("int4", "int4", IN_4_BITS),
    ("asym_w4a8", "int4", IN_4_BITS),
    ("float8", "fp8 with several scales for a weight", IN_8_BITS),
];

/// Types of weights that are numbers in no format which is read.
const WEIGHT_TYPES: &[(Dtype, &str, &str)] = &[
    (Dtype::I8, "int8", IN_8_BITS),
    (Dtype::U8, "packed numbers of a format that is not named", ANY),
    (Dtype::I32, "packed numbers of a format that is not named", ANY),
];

/// Types of scales that belong to such formats, wherever they are.
const SCALE_TYPES: [Dtype; 2] = [Dtype::U8, Dtype::F8_E8M0];

/// Names in configurations that differ from what people call the format: `quant_method`.
const METHODS: &[(&str, &str, &str)] = &[
    ("gptq", "GPTQ", IN_4_BITS),
    ("awq", "AWQ", IN_4_BITS),
    ("svdquant", "SVDQuant (Nunchaku)", IN_4_BITS),
    ("quanto", "optimum-quanto", IN_8_BITS),
    ("torchao", "torchao", IN_8_BITS),
    ("hqq", "HQQ", IN_4_BITS),
    ("sdnq", "SDNQ", IN_4_BITS),
    ("modelopt", "NVIDIA ModelOpt", IN_8_BITS),
];

/// Files that lie beside weights of optimum-quanto.
const QUANTO_FILES: [&str; 2] = ["quanto_qmap.json", "quantization_map.json"];

/// Refuse tensors of a format that is not read, by its name.
pub(super) fn refuse_tensors(tensors: &Tensors) -> Result<(), CheckpointError> {
    let notes = comfy_quant::notes(tensors)?;
    for (note, place) in notes.values() {
        if note.scaled_format().is_none() {
            let known = COMFY_FORMATS.iter().find(|(name, ..)| note.format.starts_with(name));
            let (format, advice) = known.map_or(("a format of ComfyUI", ANY), |(_, format, advice)| (*format, *advice));
            let sign = format!("{} says {}", place.name(), note.format);
            return Err(refused(place.path(), format.to_owned(), sign, advice));
        }
    }
    let ending = |ending: &str| tensors.iter().find(|(name, _)| name.ends_with(ending));
    for Sign { endings, format, advice } in SIGNS {
        let all = endings.iter().all(|other| ending(other).is_some());
        if let Some((name, tensor)) = endings.first().and_then(|first| ending(first)).filter(|_| all) {
            return Err(refused(tensor.path(), (*format).to_owned(), format!("it has {name}"), advice));
        }
    }
    for (name, tensor) in tensors {
        let Format::Other(dtype) = tensor.format() else { continue };
        // Where a note says that they are 8-bit floats, bytes are what it says.
        let is_weight = || name.strip_suffix(".weight").is_some_and(|layer| !notes.contains_key(layer));
        let known = if SCALE_TYPES.contains(&dtype) && name.ends_with(".weight_scale") {
            Some(("MXFP8", IN_8_BITS))
        } else {
            let of_weight = WEIGHT_TYPES.iter().find(|(known, ..)| *known == dtype && is_weight());
            of_weight.map(|(_, format, advice)| (*format, *advice))
        };
        if let Some((format, advice)) = known {
            let sign = format!("{name} is stored as {}", tensor.format());
            return Err(refused(tensor.path(), format.to_owned(), sign, advice));
        }
    }
    Ok(())
}

/// Refuse the folder of a component whose configuration says that its weights are in a format that is not read.
pub(super) fn refuse_folder(folder: &Path) -> Result<(), CheckpointError> {
    if let Some(file) = QUANTO_FILES.iter().find(|file| model_path::exists(&folder.join(file))) {
        return Err(refused(folder, "optimum-quanto".to_owned(), format!("it has {file}"), IN_8_BITS));
    }
    let path = folder.join("config.json");
    // What is wrong with the file itself, the reader of configurations says.
    let config: Option<Value> = model_path::read_text(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
    let Some(settings) = config.as_ref().and_then(|config| config.get("quantization_config")?.as_object()) else {
        return Ok(());
    };
    let text = |name: &str| settings.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_set = |name: &str| settings.get(name).and_then(Value::as_bool).unwrap_or_default();
    let method = text("quant_method");
    let sign = format!("its quantization_config says {}", if method.is_empty() { "no method" } else { method });
    let bitsandbytes = |kind: &str| format!("bitsandbytes {kind}");
    let known = || METHODS.iter().find(|(name, ..)| *name == method).map(|(_, format, advice)| ((*format).to_owned(), *advice));
    let (format, advice) = if is_set("load_in_8bit") || is_set("_load_in_8bit") {
        (bitsandbytes("int8"), IN_8_BITS)
    } else if is_set("load_in_4bit") || is_set("_load_in_4bit") {
        (bitsandbytes(&text("bnb_4bit_quant_type").to_uppercase()), IN_4_BITS)
    } else {
        known().unwrap_or_else(|| (if method.is_empty() { "an unnamed method" } else { method }.to_owned(), ANY))
    };
    Err(refused(&path, format, sign, advice))
}

fn refused(path: &Path, format: String, sign: String, advice: &'static str) -> CheckpointError {
    CheckpointError::Quantised { path: path.to_owned(), format, sign, advice }
}
