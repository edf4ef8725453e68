//! What is no usable LoRA is refused with a sentence that says what it is.

mod common;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use common::{FLUX, Layout, SD3, lora_file, pipeline};
use diffusion_core::Precision;
use diffusion_lora::{Lora, LoraError, LoraSet, SetLoras, SetLorasError};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

type Tensors<'a> = &'a [(&'a str, &'a [usize], f32)];

/// A file of f32 tensors, each of one number over and over.
fn write(folder: &Path, tensors: Tensors) -> PathBuf {
    let path = folder.join("lora.safetensors");
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, shape, value)| value.to_le_bytes().repeat(shape.iter().product())).collect();
    let view = |(name, shape, _): &(&str, &[usize], f32), bytes| {
        ((*name).to_owned(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    };
    let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| view(tensor, &bytes[..]));
    serialize_to_file(views.collect::<Vec<_>>(), None, &path).unwrap();
    path
}

fn open(tensors: Tensors) -> Result<Lora, LoraError> {
    let folder = tempfile::tempdir().unwrap();
    Lora::open(&write(folder.path(), tensors))
}

/// The error of using a file with FLUX.1's fixture.
fn apply(tensors: Tensors) -> LoraError {
    let folder = tempfile::tempdir().unwrap();
    let lora = Lora::open(&write(folder.path(), tensors)).unwrap();
    refused(&LoraSet::new().with(&lora, 1.0))
}

fn refused(set: &LoraSet) -> LoraError {
    match pipeline(FLUX, Layout::Folder, Precision::f32()).set_loras(set) {
        Err(SetLorasError::Lora(error)) => error,
        other => panic!("{other:?}"),
    }
}

const QUERY: &str = "transformer.transformer_blocks.0.attn.to_q";

#[test]
fn other_kinds_of_files_are_named() {
    let error = open(&[("emb_params", &[4, 22], 0.1)]).unwrap_err();
    assert!(error.to_string().contains("textual inversion"), "{error}");
    let error = open(&[("clip_l", &[4, 22], 0.1), ("clip_g", &[4, 32], 0.1)]).unwrap_err();
    assert!(error.to_string().contains("textual inversion"), "{error}");
    let error = open(&[("transformer_blocks.0.attn.to_q.weight", &[600, 600], 0.1)]).unwrap_err();
    assert!(error.to_string().contains("whole weights"), "{error}");
    let error = open(&[("something", &[2], 0.1)]).unwrap_err();
    assert!(error.to_string().contains("something"), "{error}");
    let error = open(&[("lora_unet_a.alpha", &[], 1.0)]).unwrap_err();
    assert!(matches!(error, LoraError::NotALora { .. }), "{error}");
    let error = open(&[(&format!("{QUERY}.oft_blocks"), &[2, 2], 0.1)]).unwrap_err();
    assert!(error.to_string().contains("OFT") && error.to_string().contains(QUERY), "{error}");
}

#[test]
fn a_lora_for_a_unet_is_called_that() {
    let module = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q";
    let (down, up) = (format!("{module}.lora_down.weight"), format!("{module}.lora_up.weight"));
    let error = apply(&[(&down, &[4, 320], 0.1), (&up, &[320, 4], 0.1)]);
    assert!(matches!(error, LoraError::DoesNotFit { .. }));
    assert!(error.to_string().contains("SDXL") && error.to_string().contains(module), "{error}");
}

#[test]
fn a_lora_of_the_other_family_is_refused() {
    let flux = Lora::open(&lora_file(FLUX, "kohya")).unwrap();
    let result = pipeline(SD3, Layout::Folder, Precision::f32()).set_loras(&LoraSet::new().with(&flux, 1.0));
    let Err(SetLorasError::Lora(error)) = result else { panic!("{result:?}") };
    assert!(error.to_string().contains("FLUX.1"), "{error}");
    let sd3 = Lora::open(&lora_file(SD3, "kohya")).unwrap();
    let error = refused(&LoraSet::new().with(&sd3, 1.0));
    assert!(error.to_string().contains("Stable Diffusion 3"), "{error}");
    // The names of diffusers are partly the same; then the shapes tell.
    let sd3 = Lora::open(&lora_file(SD3, "lycoris")).unwrap();
    assert!(matches!(refused(&LoraSet::new().with(&sd3, 1.0)), LoraError::DoesNotFit { .. }));
}

#[test]
fn a_truncated_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(lora_file(FLUX, "kohya")).unwrap();
    for len in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        let path = folder.path().join("cut.safetensors");
        std::fs::write(&path, &bytes[..len]).unwrap();
        let error = Lora::open(&path).unwrap_err();
        assert!(matches!(error, LoraError::Checkpoint(_)) && error.to_string().contains("cut.safetensors"), "{error}");
    }
}

#[test]
fn incomplete_and_impossible_adapters_are_refused() {
    let (down, up) = (format!("{QUERY}.lora_A.weight"), format!("{QUERY}.lora_B.weight"));
    let error = open(&[(&down, &[4, 28], 0.1)]).unwrap_err();
    assert!(matches!(&error, LoraError::Incomplete { module, .. } if module == QUERY), "{error}");
    let error = open(&[(&down, &[4, 28], 0.1), (&up, &[28, 3], 0.1)]).unwrap_err();
    assert!(matches!(&error, LoraError::Shape { tensor, .. } if *tensor == up), "{error}");
    let error = open(&[(&down, &[0, 28], 0.1), (&up, &[28, 0], 0.1)]).unwrap_err();
    assert!(error.to_string().contains("rank of at least 1"), "{error}");
    let hadamard = |role: &str| format!("{QUERY}.hada_{role}");
    let error = open(&[(&hadamard("w1_a"), &[28, 2], 0.1), (&hadamard("w1_b"), &[2, 28], 0.1)]).unwrap_err();
    assert!(matches!(&error, LoraError::Incomplete { missing, .. } if missing.contains("hada_w2_a")), "{error}");
    let error = open(&[(&format!("{QUERY}.lokr_w1"), &[4, 4], 0.1)]).unwrap_err();
    assert!(matches!(&error, LoraError::Incomplete { missing, .. } if missing.contains("lokr_w2")), "{error}");
}

#[test]
fn lengths_of_a_dora_are_those_of_rows_or_columns() {
    let [down, up, magnitude] = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"].map(|end| format!("{QUERY}.{end}"));
    let with_lengths = |shape| open(&[(&down, &[4, 28], 0.1), (&up, &[56, 4], 0.1), (&magnitude, shape, 1.0)]);
    for shape in [&[56][..], &[56, 1], &[1, 28]] {
        with_lengths(shape).unwrap();
    }
    for shape in [&[28][..], &[55, 1], &[1, 56], &[0]] {
        let error = with_lengths(shape).unwrap_err();
        assert!(matches!(&error, LoraError::Shape { tensor, .. } if *tensor == magnitude), "{error}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_tensor() {
    let (down, up) = (format!("{QUERY}.lora_A.weight"), format!("{QUERY}.lora_B.weight"));
    for value in [f32::NAN, f32::INFINITY] {
        let error = apply(&[(&down, &[4, 28], 0.1), (&up, &[28, 4], value)]);
        assert!(matches!(&error, LoraError::NotFinite { tensor, .. } if *tensor == up), "{error}");
    }
}

#[test]
fn what_does_not_fit_is_listed_and_may_be_allowed() {
    let other = "transformer.transformer_blocks.0.attn.to_k";
    let unexpected = "transformer.transformer_blocks.77.attn.to_q";
    let names: Vec<String> = [QUERY, other, unexpected]
        .iter()
        .flat_map(|module| [format!("{module}.lora_A.weight"), format!("{module}.lora_B.weight")])
        .collect();
    let shapes: [&[usize]; 6] = [&[4, 28], &[28, 4], &[4, 29], &[28, 4], &[4, 28], &[28, 4]];
    let mut tensors: Vec<(&str, &[usize], f32)> = names.iter().zip(shapes).map(|(name, shape)| (&name[..], shape, 0.1)).collect();
    tensors.push(("transformer.note", &[1], 0.0));
    let folder = tempfile::tempdir().unwrap();
    let lora = Lora::open(&write(folder.path(), &tensors)).unwrap();
    let set = LoraSet::new().with(&lora, 1.0);
    let error = refused(&set);
    let LoraError::DoesNotFit { report } = &error else { panic!("{error}") };
    assert_eq!((report.num_matched(), report.unexpected.len(), report.mismatched.len()), (1, 2, 1));
    for word in [unexpected, other, "transformer.note", "[28, 29]", "[28, 28]", "lora.safetensors"] {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    let reports = pipeline(FLUX, Layout::Folder, Precision::f32()).set_loras(&set.allowing_mismatch()).unwrap();
    assert!(!reports[0].fits());
}

#[test]
fn nothing_that_fits_is_an_error_even_if_mismatch_is_allowed() {
    let unexpected = "transformer.transformer_blocks.77.attn.to_q";
    let (down, up) = (format!("{unexpected}.lora_A.weight"), format!("{unexpected}.lora_B.weight"));
    let lora = open_kept(&[(&down, &[4, 28], 0.1), (&up, &[28, 4], 0.1)]);
    let error = refused(&LoraSet::new().with(&lora.1, 1.0).allowing_mismatch());
    assert!(matches!(error, LoraError::DoesNotFit { .. }), "{error}");
}

#[test]
fn strengths_are_finite() {
    let lora = Lora::open(&lora_file(FLUX, "kohya")).unwrap();
    assert!(matches!(refused(&LoraSet::new().with(&lora, f64::NAN)), LoraError::Strength { .. }));
}

#[test]
fn a_control_lora_that_widens_the_model_is_refused_by_name() {
    let (down, up) = ("img_in.lora_A.weight", "img_in.lora_B.weight");
    let norm = "double_blocks.0.img_attn.norm.query_norm.scale";
    let error = apply(&[(down, &[4, 128], 0.1), (up, &[28, 4], 0.1), (norm, &[14], 1.0)]);
    assert!(matches!(&error, LoraError::Control { module, .. } if module == "img_in"), "{error}");
}

#[test]
fn a_missing_file_is_an_error() {
    let error = Lora::open(Path::new("nowhere/lora.safetensors")).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(LoraSet::new().patches(&[], &Device::flex()).unwrap().0.is_empty());
}

/// A file with its folder, which goes away with it.
fn open_kept(tensors: Tensors) -> (tempfile::TempDir, Lora) {
    let folder = tempfile::tempdir().unwrap();
    let lora = Lora::open(&write(folder.path(), tensors)).unwrap();
    (folder, lora)
}

/// The error of opening or using a file of such tensors, which names `tensor`.
#[track_caller]
fn refused_by_name(tensors: Tensors, tensor: &str) {
    let folder = tempfile::tempdir().unwrap();
    let error = match Lora::open(&write(folder.path(), tensors)) {
        Ok(lora) => refused(&LoraSet::new().with(&lora, 1.0)),
        Err(error) => error,
    };
    assert!(error.to_string().contains(tensor), "{tensor}: {error}");
}

#[test]
fn every_tensor_is_checked_against_the_module_before_anything_is_computed() {
    let name = |end: &str| format!("{QUERY}.{end}");
    let [down, up, magnitude, mid] = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector", "lora_mid.weight"].map(name);
    let [bias, difference_bias, reshape] = ["lora_B.bias", "diff_b", "reshape_weight"].map(name);
    let low_rank = |role: &str, shape: &[usize]| {
        refused_by_name(&[(&down, &[4, 28], 0.1), (&up, &[28, 4], 0.1), (role, shape, 1.0)], role);
    };
    for shape in [&[27][..], &[29, 1], &[2, 14], &[14, 2], &[1, 27], &[1, 1, 27], &[0], &[1], &[]] {
        low_rank(&magnitude, shape);
    }
    for shape in [&[27][..], &[1], &[], &[2, 14], &[28, 28]] {
        low_rank(&bias, shape);
        low_rank(&difference_bias, shape);
    }
    for shape in [&[3, 4, 1, 1][..], &[4, 4, 3, 3], &[4], &[]] {
        refused_by_name(&[(&down, &[4, 28], 0.1), (&up, &[28, 4], 0.1), (&mid, shape, 1.0)], QUERY);
    }
    low_rank(&reshape, &[2]);
    refused_by_name(&[(&down, &[4, 28], 0.1), (&up, &[28, 2, 2, 1], 0.1)], &up);
    refused_by_name(&[(&difference_bias, &[27], 0.1)], QUERY);
    refused_by_name(&[(&difference_bias, &[2, 14], 0.1)], QUERY);
    refused_by_name(&[(&name("diff"), &[28], 0.1)], QUERY);
    refused_by_name(&[(&name("diff"), &[28, 1], 0.1)], QUERY);
    refused_by_name(&[(&name("diff"), &[1, 28], 0.1)], QUERY);
    refused_by_name(&[(&name("set_weight"), &[28, 27], 0.1)], QUERY);
    let norm = "transformer.transformer_blocks.0.attn.norm_q";
    for shape in [&[13][..], &[1], &[14, 14], &[1, 14]] {
        refused_by_name(&[(&format!("{norm}.w_norm"), shape, 0.1)], norm);
    }
    let hadamard = |shapes: [&[usize]; 4]| {
        let names = ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"].map(name);
        let tensors: Vec<_> = names.iter().zip(shapes).map(|(name, shape)| (name.as_str(), shape, 0.1)).collect();
        refused_by_name(&tensors, QUERY);
    };
    hadamard([&[28, 2], &[2, 28], &[28, 2], &[2, 27]]);
    hadamard([&[28, 2], &[2, 28], &[1, 2], &[2, 1]]);
    hadamard([&[28, 2], &[2, 28], &[28, 2], &[3, 28]]);
    hadamard([&[1, 2], &[2, 28], &[1, 2], &[2, 28]]);
    let kronecker: [[&[usize]; 2]; 4] = [[&[4, 4], &[7, 6]], [&[4, 4], &[0, 7]], [&[28, 28], &[2]], [&[2, 7, 2], &[14, 2]]];
    for [first, second] in kronecker {
        refused_by_name(&[(&name("lokr_w1"), first, 0.1), (&name("lokr_w2"), second, 0.1)], QUERY);
    }
}

#[test]
fn tensors_without_a_use_in_their_module_are_refused_by_name() {
    let name = |end: &str| format!("{QUERY}.{end}");
    let [down, up] = ["lora_A.weight", "lora_B.weight"].map(name);
    for other in ["diff", "set_weight", "lokr_w1", "hada_w1_a"] {
        let other = name(other);
        refused_by_name(&[(&down, &[4, 28], 0.1), (&up, &[28, 4], 0.1), (&other, &[28, 28], 0.1)], &other);
    }
    let both_biases = [name("lora_B.bias"), name("diff_b")];
    let factors: [(&str, &[usize], f32); 2] = [(&down, &[4, 28], 0.1), (&up, &[28, 4], 0.1)];
    let tensors = [&factors[..], &[(&both_biases[0], &[28], 0.1), (&both_biases[1], &[28], 0.1)]].concat();
    refused_by_name(&tensors, &both_biases[1]);
    let extra = name("lokr_w1_a");
    refused_by_name(&[(&name("lokr_w1"), &[4, 4], 0.1), (&name("lokr_w2"), &[7, 7], 0.1), (&extra, &[4, 2], 0.1)], &extra);
    let magnitude = name("dora_scale");
    refused_by_name(&[(&name("diff_b"), &[28], 0.1), (&magnitude, &[28], 0.1)], &magnitude);
}

#[test]
fn a_folder_without_a_lora_is_told_what_a_lora_folder_holds() {
    let folder = tempfile::tempdir().unwrap();
    let refused = || {
        let error = Lora::open(folder.path()).unwrap_err();
        assert!(matches!(error, LoraError::FolderWithoutLora { .. }), "{error}");
        let said = error.to_string();
        for name in ["pytorch_lora_weights.safetensors", "adapter_model.safetensors", "lora.safetensors"] {
            assert!(said.contains(name), "{said}");
        }
        said
    };
    assert!(refused().contains("this one is empty"));
    for name in ["a.safetensors", "b.safetensors", "c\u{1b}[2J.txt"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let said = refused();
    assert!(said.contains("this one holds a.safetensors, b.safetensors, c\\u{1b}[2J.txt"), "{said}");
    for i in 0..20 {
        std::fs::write(folder.path().join(format!("d{i}")), "").unwrap();
    }
    assert!(refused().ends_with("and 15 more"));
}
