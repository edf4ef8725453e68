//! Alphas, ranks and biases in every form that files have them in, and what is said about those that are not used.

mod common;

use std::fs;
use std::path::Path;

use common::raw_lora::{RawLora, assert_same};
use common::{FLUX, Layout, pipeline};
use diffusion_core::Precision;
use diffusion_core::weights::{PatchTarget, PatchWeights};
use diffusion_lora::{Lora, LoraError};
use safetensors::tensor::Dtype;

const QUERY: &str = "transformer_blocks.0.attn.to_q";
const MODULES: [&str; 4] =
    [QUERY, "transformer_blocks.0.attn.to_k", "transformer_blocks.0.attn.to_out.0", "single_transformer_blocks.0.attn.to_q"];

fn targets() -> Vec<PatchTarget> {
    pipeline(FLUX, Layout::Folder, Precision::f32()).patch_targets()
}

/// Factors of rank 4.
fn factors(prefix: &str) -> RawLora {
    MODULES.iter().fold(RawLora::new(), |file, module| {
        let file = file.with_numbers(&format!("{prefix}{module}.lora_A.weight"), &[4, 28]);
        file.with_numbers(&format!("{prefix}{module}.lora_B.weight"), &[28, 4])
    })
}

/// The same with alphas in tensors.
fn with_alphas(file: RawLora, alpha: impl Fn(&str) -> f32) -> Lora {
    let file = MODULES.iter().fold(file, |file, module| file.with_number(&format!("transformer.{module}.alpha"), alpha(module)));
    file.open().unwrap()
}

#[test]
fn an_alpha_is_a_number_of_any_format() {
    let targets = targets();
    let expected = with_alphas(factors("transformer."), |_| 2.0);
    let bytes = 2_i64.to_le_bytes();
    for (dtype, len) in [
        (Dtype::I64, 8),
        (Dtype::U64, 8),
        (Dtype::I32, 4),
        (Dtype::U32, 4),
        (Dtype::I16, 2),
        (Dtype::U16, 2),
        (Dtype::I8, 1),
        (Dtype::U8, 1),
    ] {
        for shape in [&[][..], &[1], &[1, 1]] {
            let with =
                |file: RawLora, module: &&str| file.with(&format!("transformer.{module}.alpha"), dtype, shape, &bytes[..len]);
            let found = MODULES.iter().fold(factors("transformer."), with).open().unwrap();
            assert_same(&format!("{dtype:?} {shape:?}"), &found, &expected, &targets);
            assert_eq!(found.contents().alphas, Some((2.0, 2.0)));
        }
    }
    let negative = factors("transformer.").with(&format!("transformer.{QUERY}.alpha"), Dtype::I8, &[], &[0xfe]);
    assert_eq!(negative.open().unwrap().contents().alphas, Some((-2.0, -2.0)));
}

#[test]
fn an_alpha_that_is_no_number_is_refused_by_name() {
    let name = format!("transformer.{QUERY}.alpha");
    let with =
        |dtype, shape: &[usize], bytes: &[u8]| factors("transformer.").with(&name, dtype, shape, bytes).open().unwrap_err();
    for error in [
        with(Dtype::I64, &[2], &[0; 16]),
        with(Dtype::F32, &[0], &[]),
        with(Dtype::BOOL, &[], &[1]),
        with(Dtype::F32, &[], &f32::NAN.to_le_bytes()),
        with(Dtype::F16, &[], &[0, 0x7c]),
    ] {
        assert!(error.to_string().contains(&name), "{error}");
    }
}

#[test]
fn an_alpha_that_means_nothing_may_be_anything() {
    let targets = targets();
    let module = format!("transformer.{QUERY}");
    let lokr =
        RawLora::new().with_numbers(&format!("{module}.lokr_w1"), &[4, 4]).with_numbers(&format!("{module}.lokr_w2"), &[7, 7]);
    let difference = RawLora::new().with_numbers(&format!("{module}.diff"), &[28, 28]);
    for file in [lokr, difference] {
        let expected = file.open().unwrap();
        let alphas: [(Dtype, &[usize], &[u8]); 7] = [
            (Dtype::F16, &[], &[0, 0x7c]),
            (Dtype::BF16, &[], &[0xff, 0xff]),
            (Dtype::F32, &[], &f32::NAN.to_le_bytes()),
            (Dtype::F64, &[], &9_999_999_999_f64.to_le_bytes()),
            (Dtype::I64, &[], &9_999_999_999_i64.to_le_bytes()),
            (Dtype::BOOL, &[3], &[1, 0, 1]),
            (Dtype::F32, &[0], &[]),
        ];
        for (dtype, shape, bytes) in alphas {
            let found = file.clone().with(&format!("{module}.alpha"), dtype, shape, bytes).open().unwrap();
            assert_same(&format!("{dtype:?}"), &found, &expected, &targets);
            assert_eq!(found.contents().alphas, None);
        }
    }
}

#[test]
fn patterns_of_peft_are_regular_expressions_in_the_files_order() {
    type Alpha<'a> = &'a dyn Fn(&str) -> f32;
    let targets = targets();
    let with_header = |settings: &str| factors("transformer.").with_entry("lora_adapter_metadata", settings).open().unwrap();
    let query_or_key = |module: &str| module.ends_with(".to_q") || module.ends_with(".to_k");
    let cases: [(&str, Alpha); 7] = [
        (r#"{".*\\.to_[qk]": 1}"#, &|module| if query_or_key(module) { 1.0 } else { 8.0 }),
        (r#"{"to_q": 1, "attn.to_q": 16}"#, &|module| if module.ends_with("to_q") { 1.0 } else { 8.0 }),
        (r#"{"attn.to_q": 16, "to_q": 1}"#, &|module| if module.ends_with("to_q") { 16.0 } else { 8.0 }),
        (r#"{"^transformer_blocks\\.\\d+\\.attn\\.to_(q|out\\.0)": 2}"#, &|module| {
            if module == MODULES[0] || module == MODULES[2] { 2.0 } else { 8.0 }
        }),
        (r#"{"^(?!single).*to_q$": 4}"#, &|module| if module == QUERY { 4.0 } else { 8.0 }),
        (r#"{"to": 1, "attn": 1, "o_q": 1}"#, &|_| 8.0),
        (r#"{"single_transformer_blocks.*": 3}"#, &|module| if module.starts_with("single") { 3.0 } else { 8.0 }),
    ];
    for (patterns, alpha) in cases {
        let expected = with_alphas(factors("transformer."), alpha);
        let settings =
            |prefix: &str| format!(r#"{{"{prefix}r": 4, "{prefix}lora_alpha": 8, "{prefix}alpha_pattern": {patterns}}}"#);
        assert_same(patterns, &with_header(&settings("transformer.")), &expected, &targets);
        assert_same(patterns, &with_header(&settings("")), &expected, &targets);
    }
    let broken =
        factors("transformer.").with_entry("lora_adapter_metadata", r#"{"lora_alpha": 8, "alpha_pattern": {"to_(q": 1}}"#);
    let error = broken.open().unwrap_err();
    assert!(matches!(error, LoraError::Metadata { .. }) && error.to_string().contains("to_(q"), "{error}");
}

#[test]
fn ranks_of_patterns_are_those_of_the_tensors() {
    let targets = targets();
    let key = format!("transformer.{QUERY}");
    let other_rank = |file: RawLora| {
        file.with_numbers(&format!("{key}.lora_A.weight"), &[2, 28]).with_numbers(&format!("{key}.lora_B.weight"), &[28, 2])
    };
    let settings = r#"{"r": 4, "lora_alpha": 8, "rank_pattern": {"^transformer_blocks.*to_q": 2}}"#;
    let found = other_rank(factors("transformer.")).with_entry("lora_adapter_metadata", settings).open().unwrap();
    assert_same("ranks", &found, &with_alphas(other_rank(factors("transformer.")), |_| 8.0), &targets);
    assert!(found.contents().notes.is_empty(), "{}", found.contents());
    let found = other_rank(factors("transformer.")).with_entry("lora_adapter_metadata", r#"{"r": 4, "lora_alpha": 8}"#);
    let report = found.open().unwrap().contents();
    assert!(report.to_string().contains("1 modules have another rank than its settings say"), "{report}");
}

#[test]
fn what_scales_the_factors_scales_their_bias() {
    let targets = targets();
    let bias = |file: RawLora, end: &str| file.with_numbers(&format!("transformer.{QUERY}{end}"), &[28]);
    let halved = |file: RawLora| file.with_number(&format!("transformer.{QUERY}.alpha"), 2.0).open().unwrap();
    let scaled = halved(bias(factors("transformer."), ".lora_B.bias"));
    let unscaled = halved(bias(factors("transformer."), ".diff_b"));
    let added = |lora: &Lora| common::raw_lora::added(lora, &targets).unwrap();
    let (scaled, unscaled) = (added(&scaled), added(&unscaled));
    let (parameter, of_bias) = scaled.iter().find(|((_, path), _)| path.strip_suffix(".bias").is_some()).unwrap();
    for (scaled, unscaled) in of_bias.iter().zip(&unscaled[parameter]) {
        assert!(unscaled.abs() > 1e-3 || *scaled == 0.0);
        assert!((2.0 * scaled - unscaled).abs() < 1e-6, "{scaled} {unscaled}");
    }
    // The same from PEFT's settings, and with the name of the adapter.
    let settings = r#"{"r": 4, "lora_alpha": 2}"#;
    let of_peft = bias(factors("transformer."), ".lora_B.style.bias").with_entry("lora_adapter_metadata", settings);
    assert_eq!(added(&of_peft.open().unwrap())[parameter], *of_bias);
}

/// A folder with this LoRA and PEFT's configuration.
fn folder_of_peft(name: &str, file: &RawLora, config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    file.write(&folder.path().join(name));
    fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    folder
}

const CONFIG: &str = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 2, "alpha_pattern": {"to_k": 1}}"#;

#[test]
fn a_configuration_beside_a_renamed_file_is_used_if_it_is_its_own() {
    let targets = targets();
    let expected = with_alphas(factors("transformer."), |module| if module.ends_with("to_k") { 1.0 } else { 2.0 });
    let open = |folder: &Path, name: &str| Lora::open(&folder.join(name)).unwrap();
    for name in ["adapter_model.safetensors", "my style.safetensors"] {
        let folder = folder_of_peft(name, &factors("base_model.model."), CONFIG);
        assert_same(name, &open(folder.path(), name), &expected, &targets);
        // A folder with one file is that file.
        assert_same(name, &open(folder.path(), ""), &expected, &targets);
        let said = open(folder.path(), name).contents().to_string();
        assert_eq!(said.contains("alpha is that of adapter_config.json"), name != "adapter_model.safetensors", "{said}");
    }
    let plain = factors("transformer.").open().unwrap();
    let unused = |folder: &tempfile::TempDir, reason: &str| {
        let found = open(folder.path(), "style.safetensors");
        assert_same(reason, &found, &plain, &targets);
        let said = found.contents().to_string();
        assert!(said.contains("adapter_config.json beside it is not used") && said.contains(reason), "{said}");
    };
    unused(&folder_of_peft("style.safetensors", &factors("transformer."), "no JSON"), "names are not PEFT's");
    let folder = folder_of_peft("style.safetensors", &factors("base_model.model."), CONFIG);
    factors("base_model.model.").write(&folder.path().join("other.safetensors"));
    unused(&folder, "several files");
    fs::rename(folder.path().join("other.safetensors"), folder.path().join("adapter_model.safetensors")).unwrap();
    unused(&folder, "belongs to adapter_model.safetensors");
    // Where tensors tell all alphas, it does not matter.
    let told = MODULES
        .iter()
        .fold(factors("transformer."), |file, module| file.with_number(&format!("transformer.{module}.alpha"), 4.0));
    let folder = folder_of_peft("style.safetensors", &told, CONFIG);
    assert!(open(folder.path(), "style.safetensors").contents().notes.is_empty());
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused_where_it_is_used() {
    for config in ["", "[]", r#"{"lora_alpha": "two"}"#] {
        let folder = folder_of_peft("adapter_model.safetensors", &factors("base_model.model."), config);
        let error = Lora::open(folder.path()).unwrap_err();
        assert!(matches!(error, LoraError::Metadata { .. }), "{error}");
    }
}

#[test]
fn alphas_in_the_header_that_no_program_reads_are_said_to_be_unused() {
    let targets = targets();
    let plain = factors("transformer.").open().unwrap();
    for name in ["lora_alpha", "network_alpha", "ss_network_alpha"] {
        let found = factors("transformer.").with_entry(name, "2\u{1b}").open().unwrap();
        assert_same(name, &found, &plain, &targets);
        let said = found.report(&targets).to_string();
        assert!(said.contains(&format!("{name} 2\\u{{1b}} in its header is not used")), "{said}");
        let told = MODULES
            .iter()
            .fold(factors("transformer."), |file, module| file.with_number(&format!("transformer.{module}.alpha"), 4.0));
        assert!(told.with_entry(name, "2").open().unwrap().contents().notes.is_empty());
    }
}

#[test]
fn dylora_is_used_with_all_of_its_rank() {
    let expected = with_alphas(factors("transformer."), |_| 2.0);
    for (name, value) in
        [("ss_network_module", "networks.dylora"), ("ss_network_args", r#"{"algo": "dylora", "block_size": "4"}"#)]
    {
        let found = with_alphas(factors("transformer.").with_entry(name, value), |_| 2.0);
        assert_same(name, &found, &expected, &targets());
        assert!(found.contents().to_string().contains("DyLoRA"), "{}", found.contents());
    }
    assert!(expected.contents().notes.is_empty());
}
