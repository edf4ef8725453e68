//! Names made of known pieces in any order, with free parts: understood, reported, and unknown ones refused.

mod common;

use common::raw_lora::{RawLora, assert_same};
use common::{FLUX, Layout, SD3, fixture, pipeline};
use diffusion_core::Precision;
use diffusion_core::weights::{PatchTarget, PatchWeights};
use diffusion_lora::dialects::Dialect;
use diffusion_lora::{Lora, LoraError, Reason};
use diffusion_models::components::CLIP_L;

const MODULES: [&str; 2] = ["transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.attn.to_v"];
const ORIGINAL: &str = "double_blocks.0.img_attn.proj";

fn targets(family: &str) -> Vec<PatchTarget> {
    pipeline(family, Layout::Folder, Precision::f32()).patch_targets()
}

/// Factors of rank 2 for modules of 28 rows and columns.
fn factors(modules: &[&str], prefix: &str, [down, up]: [&str; 2]) -> RawLora {
    modules.iter().fold(RawLora::new(), |file, module| {
        let file = file.with_numbers(&format!("{prefix}{module}{down}"), &[2, 28]);
        file.with_numbers(&format!("{prefix}{module}{up}"), &[28, 2])
    })
}

const PEFT: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

#[test]
fn pieces_of_prefixes_are_understood_in_any_order() {
    let targets = targets(FLUX);
    let expected = factors(&MODULES, "transformer.", PEFT).open().unwrap();
    for prefix in [
        "",
        "base_model.model.",
        "transformer.base_model.model.",
        "base_model.model.transformer.",
        "base_model.model.model.transformer.",
        "diffusion_model.",
        "model.diffusion_model.",
        "base_model.model.diffusion_model.",
        "diffusion_model.base_model.model.",
        "unet.",
        "transformer._orig_mod.",
        "module.transformer.",
        "transformer..",
    ] {
        let found = factors(&MODULES, prefix, PEFT).open().unwrap();
        assert_same(prefix, &found, &expected, &targets);
        let report = found.report(&targets);
        assert!(report.prefixes.iter().all(|told| told == prefix), "{report}");
        assert!(prefix.is_empty() || report.to_string().contains(&format!("names after {prefix}")), "{report}");
        let is_peft = report.dialects == [Dialect::Peft];
        assert_eq!(is_peft, prefix.contains("base_model.model."), "{report}");
    }
}

#[test]
fn flattened_names_are_understood_after_any_separators() {
    let targets = targets(FLUX);
    let kohya = [".lora_down.weight", ".lora_up.weight"];
    let expected = factors(&[ORIGINAL], "diffusion_model.", PEFT).open().unwrap();
    let flat = ORIGINAL.replace('.', "_");
    for name in [
        format!("lora_unet_{flat}"),
        format!("lora_unet__{flat}"),
        format!("lora_unet.{ORIGINAL}"),
        format!("lora_unet_{ORIGINAL}"),
        format!("lora_unet_{flat}_"),
        format!("lora_unet_diffusion_model_{flat}"),
        format!("lora_unet_base_model_model_{flat}"),
        format!("diffusion_model.{flat}"),
        format!("diffusion_model.lora_unet_{flat}"),
        format!("lycoris_{flat}"),
        flat.clone(),
    ] {
        assert_same(&name, &factors(&[&name], "", kohya).open().unwrap(), &expected, &targets);
    }
}

#[test]
fn ends_of_names_are_understood_with_any_adapter_name() {
    let targets = targets(FLUX);
    let expected = factors(&MODULES, "transformer.", PEFT).open().unwrap();
    for ends in [
        [".lora_A.default.weight", ".lora_B.default.weight"],
        [".lora_A.lora_1.weight", ".lora_B.lora_1.weight"],
        [".lora_A.my-style v2.weight", ".lora_B.my-style v2.weight"],
        [".lora_A.weight.weight", ".lora_B.weight.weight"],
        [".lora_A", ".lora_B"],
        [".lora.down.weight", ".lora.up.weight"],
        ["_lora.down.weight", "_lora.up.weight"],
        ["_lora_A.weight", "_lora_B.weight"],
        ["_lora_down.weight", "_lora_up.weight"],
        [".lora_down.style.weight", ".lora_up.style.weight"],
        [".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"],
    ] {
        let found = factors(&MODULES, "transformer.", ends).open().unwrap();
        assert_same(ends[0], &found, &expected, &targets);
    }
    let report = factors(&MODULES, "transformer.", [".lora_A.lora_1.weight", ".lora_B.lora_1.weight"]).open().unwrap().contents();
    assert_eq!(report.adapter_names, ["lora_1"]);
    assert!(report.to_string().contains("adapter lora_1"), "{report}");
}

#[test]
fn what_is_not_made_of_known_pieces_stays_an_error_that_names_it() {
    let targets = targets(FLUX);
    for prefix in ["transformers.", "transformer.base_model.", "my.transformer.", "transformer.clip_l.", "text_encoder.", "vae."]
    {
        let key = format!("{prefix}{}", MODULES[0]);
        let file = factors(&MODULES[1..], "transformer.", PEFT);
        let file = file.with_numbers(&format!("{key}.lora_A.weight"), &[2, 28]);
        let report = file.with_numbers(&format!("{key}.lora_B.weight"), &[28, 2]).open().unwrap().report(&targets);
        assert_eq!(report.unexpected.iter().map(|unexpected| &unexpected.name).collect::<Vec<_>>(), [&key]);
        assert!(!report.fits() && report.to_string().contains(&key), "{report}");
    }
    for end in [".lora_A.0", ".lora_A.a.b.weight", ".lora_A.bias", ".lora_C.weight", ".weight", ".scalar"] {
        let name = format!("transformer.{}{end}", MODULES[0]);
        let file = factors(&MODULES, "transformer.", PEFT).with_numbers(&name, &[2, 28]);
        let report = file.open().unwrap().report(&targets);
        assert_eq!(report.unexpected.iter().map(|unexpected| &unexpected.name).collect::<Vec<_>>(), [&name]);
    }
}

#[test]
fn what_means_the_same_twice_is_refused() {
    let key = format!("transformer.{}", MODULES[0]);
    let several = factors(&MODULES, "transformer.", [".lora_A.first.weight", ".lora_B.first.weight"]);
    let several = several.with_numbers(&format!("{key}.lora_A.second.weight"), &[2, 28]);
    let error = several.with_numbers(&format!("{key}.lora_B.second.weight"), &[28, 2]).open().unwrap_err();
    assert!(matches!(error, LoraError::SeveralAdapters { .. }), "{error}");
    assert!(["first", "second", MODULES[0]].iter().all(|word| error.to_string().contains(word)), "{error}");
    let twice = factors(&MODULES, "transformer.", PEFT).with_numbers(&format!("{key}.lora_down.weight"), &[2, 28]);
    let error = twice.open().unwrap_err();
    assert!(matches!(&error, LoraError::Twice { first, .. } if *first == format!("{key}.lora_A.weight")), "{error}");
    let other = format!("base_model.model.{}", MODULES[0]);
    let twice = factors(&MODULES, "transformer.", PEFT).with_numbers(&format!("{other}.lora_A.weight"), &[2, 28]);
    let error = twice.with_numbers(&format!("{other}.lora_B.weight"), &[28, 2]).open().unwrap_err();
    assert!(matches!(&error, LoraError::Twice { .. }) && error.to_string().contains(&other), "{error}");
}

const CLIP: &str = "text_model.encoder.layers.0.self_attn.q_proj";

/// Factors of rank 3 for modules of CLIP.
fn clip_factors(names: &[String], width: usize) -> RawLora {
    names.iter().fold(RawLora::new(), |file, name| {
        let file = file.with_numbers(&format!("{name}.lora_down.weight"), &[3, width]);
        file.with_numbers(&format!("{name}.lora_up.weight"), &[width, 3])
    })
}

#[test]
fn a_projection_that_the_model_does_not_take_is_left_out_and_named() {
    let targets = targets(FLUX);
    let prefix = "text_encoders.clip_l.transformer.";
    let expected = clip_factors(&[format!("{prefix}{CLIP}")], 22).open().unwrap();
    for projection in [
        "text_encoders.clip_l.transformer.text_projection",
        "clip_l.transformer.text_projection",
        "text_encoder.text_projection",
        "base_model.model.text_encoder.text_projection",
        "lora_te1_text_projection",
        "lora_te_text_projection",
    ] {
        let found = clip_factors(&[format!("{prefix}{CLIP}"), projection.to_owned()], 22).open().unwrap();
        assert_same(projection, &found, &expected, &targets);
        let report = found.report(&targets);
        assert!(report.fits(), "{report}");
        let left_out: Vec<_> = report.without_effect.iter().map(|part| (part.name.as_str(), part.reason)).collect();
        assert_eq!(left_out, [(projection, Reason::AfterOutput(CLIP_L))]);
        assert!(report.to_string().contains(&format!("{projection} has no effect")), "{report}");
    }
    // What only looks like it, and what is in a text encoder without one, is unknown.
    for name in ["text_encoders.clip_l.transformer.text_projection_2", "text_encoders.t5xxl.transformer.text_projection"] {
        let report = clip_factors(&[format!("{prefix}{CLIP}"), name.to_owned()], 22).open().unwrap().report(&targets);
        assert!(!report.fits() && report.without_effect.is_empty(), "{report}");
    }
}

#[test]
fn a_projection_that_the_model_takes_is_patched() {
    let targets = targets(SD3);
    let names = ["lora_te1_text_projection".to_owned()];
    let report = clip_factors(&names, 20).open().unwrap().report(&targets);
    assert!(report.fits() && report.without_effect.is_empty() && report.num_matched() == 1, "{report}");
}

#[test]
fn embeddings_inside_a_lora_are_named_as_such() {
    let targets = targets(FLUX);
    let expected = factors(&MODULES, "transformer.", PEFT).open().unwrap();
    let names = ["bundle_emb.my-word.clip_l", "bundle_emb.my-word.string_to_param.*", "bundle_emb.my-word.t5xxl"];
    let file = names.iter().fold(factors(&MODULES, "transformer.", PEFT), |file, name| file.with_numbers(name, &[2, 22]));
    let found = file.open().unwrap();
    assert_same("bundle", &found, &expected, &targets);
    let report = found.report(&targets);
    assert!(report.fits(), "{report}");
    for name in names {
        assert!(report.to_string().contains(&format!("{name} is a textual-inversion embedding, which is not used")), "{report}");
    }
    let alone = RawLora::new().with_numbers(names[0], &[2, 22]).open().unwrap_err();
    assert!(alone.to_string().contains("textual inversion"), "{alone}");
}

#[test]
fn whole_weights_are_no_lora_and_are_named() {
    for (file, kind) in [
        ("flux-dev/original.safetensors", "FLUX.1"),
        ("flux-dev/transformer", "FLUX.1"),
        ("sd3/original.safetensors", "Stable Diffusion 3"),
        ("sd3/transformer", "Stable Diffusion 3"),
        ("flux-dev/vae", "an autoencoder (VAE)"),
        ("sd3/text_encoder", "a CLIP text encoder"),
        ("flux-dev/text_encoder_2", "a T5 text encoder"),
    ] {
        let error = Lora::open(&fixture(file)).unwrap_err();
        assert!(matches!(error, LoraError::NotALora { .. }), "{file}: {error}");
        assert!(error.to_string().contains("whole weights") && error.to_string().contains(kind), "{file}: {error}");
    }
    // The norms of a whole model without the rest are no LoRA, either.
    let norm = "double_blocks.0.img_attn.norm.query_norm.scale";
    let norms = RawLora::new().with_numbers(norm, &[14]);
    assert!(matches!(norms.open().unwrap_err(), LoraError::NotALora { .. }));
    RawLora::new().with_numbers(&format!("{norm}.set_weight"), &[14]).open().unwrap();
}

#[test]
fn names_of_a_file_reach_no_terminal_unescaped() {
    let name = "transformer.a\u{1b}]0;title\u{7}\nb";
    let lora = factors(&[name], "", PEFT).with_numbers("x\u{1b}[2J", &[1]).open().unwrap();
    let report = lora.report(&targets(FLUX)).to_string();
    assert!(!report.contains('\u{1b}') && !report.contains('\u{7}') && report.contains("a\\u{1b}]0;title\\u{7}\\nb"), "{report}");
    for file in [
        factors(&[name], "", [".lora_A.weight", ".dora_scale"]),
        factors(&[name], "", [".lora_A.weight", ".oft_blocks"]),
        factors(&[name], "", [".lora_A.x\u{1b}.weight", ".lora_B.y\u{1b}.weight"]),
        RawLora::new().with_numbers(name, &[1]),
    ] {
        let error = file.open().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}') && error.contains("\\u{1b}"), "{error}");
    }
}
