//! Formats that are not read, refused by their names, and notes of those that are.

use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::format::Format;

use crate::files::{Tensor, assert_names, f32_bytes, open, safetensors, safetensors_about, values};

/// 1, -1, 448 and the smallest number.
const CODES: [u8; 4] = [0x38, 0xb8, 0x7e, 0x01];

fn note(format: &str) -> Vec<u8> {
    format!(r#"{{"format": "{format}"}}"#).into_bytes()
}

fn noted(weight: Tensor, note: &[u8], scale: Option<Tensor>) -> Result<Checkpoint, CheckpointError> {
    let note: Tensor = ("a.comfy_quant", "U8", &[note.len()], note);
    let plain: Tensor = ("a.bias", "F32", &[1], &[0; 4]);
    let tensors: Vec<Tensor> = [weight, note, plain].into_iter().chain(scale).collect();
    open(&safetensors(&tensors))
}

#[test]
fn fp8_with_a_note_is_its_codes_times_its_scale() {
    let half = f32_bytes(&[0.5]);
    let scale: Tensor = ("a.weight_scale", "F32", &[], &half);
    let expected = [0.5, -0.5, 224.0, 2f32.powi(-10)];
    for dtype in ["F8_E4M3", "U8"] {
        for json in [r#"{"format": "float8_e4m3fn"}"#, r#"{"format":"float8_e4m3fn","full_precision_matrix_mult":true,"x":null}"#]
        {
            let checkpoint = noted(("a.weight", dtype, &[2, 2], &CODES), json.as_bytes(), Some(scale)).unwrap();
            assert_eq!(values(&checkpoint, "a.weight"), expected, "{dtype} {json}");
            assert_eq!(checkpoint.get("a.weight").unwrap().format(), Format::F8E4M3);
            assert_eq!(checkpoint.tensors().count(), 2);
        }
    }
    let checkpoint =
        noted(("a.weight", "F8_E5M2", &[1, 4], &[0x3c, 0xbc, 0x40, 0x44]), &note("float8_e5m2"), Some(scale)).unwrap();
    assert_eq!(values(&checkpoint, "a.weight"), [0.5, -0.5, 1.0, 2.0]);
}

#[test]
fn a_note_in_the_header_counts_as_one_beside_the_weight() {
    let half = f32_bytes(&[0.5]);
    let weight: Tensor = ("part.a.weight", "U8", &[2, 2], &CODES);
    let header = |format: &str| {
        format!(r#"{{"format_version":"1.0","layers":{{"part.a":{{"format":"{format}"}},"gone":{{"format":"float8_e4m3fn"}}}}}}"#)
    };
    let file = |tensors: &[Tensor], format| open(&safetensors_about(tensors, &[("_quantization_metadata", &header(format))]));
    let input: Tensor = ("part.a.input_scale", "F32", &[], &half);
    let checkpoint = file(&[weight, ("part.a.weight_scale", "F32", &[], &half), input], "float8_e4m3fn").unwrap();
    assert_eq!(values(&checkpoint, "part.a.weight"), [0.5, -0.5, 224.0, 2f32.powi(-10)]);
    assert_eq!(checkpoint.tensors().count(), 1);

    let error = file(&[weight], "float8_e4m3fn").unwrap_err();
    assert!(matches!(error, CheckpointError::MissingScale { .. }), "{error}");
    assert_names(&file(&[weight], "nvfp4").unwrap_err(), "broken.file", &["NVFP4", "part.a.weight", "GGUF"]);
    let error = open(&safetensors_about(&[weight], &[("_quantization_metadata", "{}")])).unwrap_err();
    assert_names(&error, "broken.file", &["_quantization_metadata", "layers"]);
}

#[test]
fn notes_that_do_not_fit_are_named() {
    type Case<'a> = (Tensor<'a>, &'a [u8], Option<Tensor<'a>>, &'a [&'a str]);
    let one = f32_bytes(&[1.0]);
    let nan = f32_bytes(&[f32::NAN]);
    let two = f32_bytes(&[1.0, 2.0]);
    let weight: Tensor = ("a.weight", "F8_E4M3", &[2, 2], &CODES);
    let scale: Option<Tensor> = Some(("a.weight_scale", "F32", &[], &one));
    let plain = f32_bytes(&[1.0; 4]);
    let cases: [Case; 9] = [
        (weight, &note("float8_e4m3fn"), None, &["a.weight", "a.weight_scale"]),
        (weight, &note("float8_e5m2"), scale, &["a.comfy_quant", "F8E4M3"]),
        (("a.weight", "F32", &[2, 2], &plain), &note("float8_e4m3fn"), scale, &["a.comfy_quant", "F32"]),
        (("b.weight", "F32", &[2, 2], &plain), &note("float8_e4m3fn"), scale, &["a.comfy_quant", "no a.weight"]),
        (weight, br#"{"format":"float8_e4m3fn","convrot":true}"#, scale, &["a.comfy_quant", "convrot"]),
        (weight, b"\x00\x01", scale, &["a.comfy_quant", "JSON"]),
        (weight, b"{}", scale, &["a.comfy_quant", "format"]),
        (weight, &note("float8_e4m3fn"), Some(("a.weight_scale", "F32", &[2, 1], &two)), &["a.weight_scale", "one scale"]),
        (weight, &note("float8_e4m3fn"), Some(("a.weight_scale", "F32", &[1], &nan)), &["a.weight_scale", "NaN"]),
    ];
    for (weight, note, scale, named) in cases {
        assert_names(&noted(weight, note, scale).unwrap_err(), "broken.file", named);
    }
}

#[test]
fn formats_of_comfyui_that_are_not_read_are_refused_by_their_names() {
    for (format, named) in [
        ("nvfp4", "NVFP4"),
        ("mxfp8", "MXFP8"),
        ("int8_tensorwise", "int8"),
        ("int8_blockwise", "int8"),
        ("convrot_w4a4", "int4"),
        ("float8_e4m3fn_blockwise", "fp8 with several scales"),
        ("something\u{1b}new", r"something\u{1b}new"),
    ] {
        let json = serde_json::to_vec(&serde_json::json!({ "format": format })).unwrap();
        let error = noted(("a.weight", "U8", &[4], &[0; 4]), &json, None).unwrap_err();
        assert!(matches!(error, CheckpointError::Quantised { .. }));
        assert_names(&error, "broken.file", &[named, "a.comfy_quant", "download"]);
    }
}

#[test]
fn quantised_files_are_refused_by_the_name_of_their_format() {
    let cases: [(&[(&str, &str)], &str); 16] = [
        (&[("a.weight", "U8"), ("a.weight.absmax", "F32"), ("a.weight.quant_state.bitsandbytes__nf4", "U8")], "bitsandbytes NF4"),
        (&[("a.weight", "U8"), ("a.weight.absmax", "F32"), ("a.weight.quant_state.bitsandbytes__fp4", "U8")], "bitsandbytes FP4"),
        (&[("a.weight", "U8"), ("a.weight.absmax", "F32"), ("a.weight.quant_map", "F32")], "bitsandbytes with 4 or 8 bits"),
        (&[("a.weight", "I8"), ("a.SCB", "F32")], "bitsandbytes int8"),
        (&[("a.weight", "U8"), ("a.weight_scale", "F8_E4M3"), ("a.weight_scale_2", "F32")], "NVFP4"),
        (
            &[("a.qweight", "I8"), ("a.wscales", "BF16"), ("a.proj_down", "BF16"), ("a.smooth_factor", "BF16")],
            "SVDQuant (Nunchaku)",
        ),
        (&[("a.qweight", "I32"), ("a.qzeros", "I32"), ("a.scales", "F16"), ("a.g_idx", "I32")], "GPTQ"),
        (&[("a.qweight", "I32"), ("a.qzeros", "I32"), ("a.scales", "F16")], "AWQ"),
        (&[("a.weight._data", "I8"), ("a.weight._scale", "F32"), ("a.input_scale", "F32")], "optimum-quanto"),
        (&[("a._weight_qdata", "I8"), ("a._weight_scale", "F32")], "torchao"),
        (&[("a.weight", "F8_E4M3"), ("a.weight_scale_inv", "F32")], "fp8 with a scale for every block"),
        (&[("a.weight", "F8_E4M3"), ("a.weight_scale", "U8")], "MXFP8"),
        (&[("a.weight", "F8_E4M3"), ("a.weight_scale", "F8_E8M0")], "MXFP8"),
        (&[("a.weight", "F8_E4M3"), ("a.weight_scale", "F32"), ("a.pre_quant_scale", "F32")], "ModelOpt AWQ"),
        (&[("a.weight", "I8"), ("a.weight_scale", "F32")], "int8"),
        (&[("a.weight", "U8")], "packed numbers of a format that is not named"),
    ];
    for (tensors, format) in cases {
        let size = |dtype: &str| match dtype {
            "F32" | "I32" => 4,
            "BF16" | "F16" => 2,
            _ => 1,
        };
        // A file has other tensors too, and its own name before them.
        let tensors = tensors.iter().map(|(name, dtype)| (format!("model.diffusion_model.{name}"), *dtype));
        let tensors: Vec<_> = tensors.chain([("model.diffusion_model.b.bias".to_owned(), "F32")]).collect();
        let zeros = [0; 8];
        let shape = [2];
        let tensors: Vec<Tensor> =
            tensors.iter().map(|(name, dtype)| (&name[..], *dtype, &shape[..], &zeros[..2 * size(dtype)])).collect();
        let error = open(&safetensors(&tensors)).unwrap_err();
        assert!(matches!(error, CheckpointError::Quantised { .. }), "{format}: {error}");
        assert_names(&error, "broken.file", &[&format!("quantised as {format} ("), "model.diffusion_model.a", "download"]);
    }
}

#[test]
fn a_folder_whose_configuration_names_a_format_is_refused_by_that_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    write("model.safetensors", &safetensors(&[("x", "F32", &[1], &[0; 4])]));
    for (settings, format) in [
        (r#"{"quant_method":"bitsandbytes","load_in_4bit":true,"bnb_4bit_quant_type":"nf4"}"#, "bitsandbytes NF4"),
        (r#"{"quant_method":"bitsandbytes","_load_in_8bit":true,"load_in_4bit":false}"#, "bitsandbytes int8"),
        (r#"{"quant_method":"gptq","bits":4}"#, "GPTQ"),
        (r#"{"quant_method":"quanto","weights_dtype":"int8"}"#, "optimum-quanto"),
        (r#"{"quant_method":"torchao"}"#, "torchao"),
        (r#"{"quant_method":"svdquant"}"#, "SVDQuant"),
        (r#"{"quant_method":"new\u001bone"}"#, r"new\u{1b}one"),
        ("{}", "an unnamed method"),
    ] {
        write("config.json", format!(r#"{{"quantization_config": {settings}}}"#).as_bytes());
        let error = Checkpoint::open(folder.path()).unwrap_err();
        assert!(matches!(error, CheckpointError::Quantised { .. }));
        assert_names(&error, "config.json", &[format, "quantization_config", "download"]);
    }
    for plain in [r#"{"quantization_config": null}"#, "{}", "no json"] {
        write("config.json", plain.as_bytes());
        assert!(Checkpoint::open(folder.path()).is_ok(), "{plain}");
    }
    write("quanto_qmap.json", b"{}");
    assert_names(&Checkpoint::open(folder.path()).unwrap_err(), "quanto_qmap.json", &["optimum-quanto"]);
}
