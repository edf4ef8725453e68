//! Names and shapes of published LoRAs against FLUX.1-dev at full size.
//!
//! `data/lora_keys.json.gz` has the names and shapes of ten layouts as people publish them. The lists of XLabs and LoKr are
//! samples of a few blocks; the LoKr sample has shapes that no weight of FLUX.1 has, so only its names count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffusion_core::weights::{ComponentId, PatchTarget, parameter_shapes};
use diffusion_lora::{Lora, LoraError, LoraSet, Report, Strength};
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, TRANSFORMER};
use diffusion_models::flux::FluxConfig;
use diffusion_models::{NetworkConfig, released_models};

type Shapes = BTreeMap<String, Vec<usize>>;

fn lists() -> BTreeMap<String, Shapes> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora_keys.json.gz");
    serde_json::from_reader(flate2::read::GzDecoder::new(File::open(path).unwrap())).unwrap()
}

/// A LoRA of these names and shapes in f16, zeros in a hole that takes no space on the disk.
fn write_hollow(folder: &Path, name: &str, tensors: &Shapes) -> PathBuf {
    let path = folder.join(format!("{name}.safetensors"));
    let mut end = 0;
    let mut header = serde_json::Map::new();
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), serde_json::json!({"dtype": "F16", "shape": shape, "data_offsets": [start, end]}));
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    path
}

/// The networks of a released model.
fn released(name: &str) -> Vec<PatchTarget> {
    released_models().into_iter().find(|(released, _)| *released == name).unwrap().1
}

fn flux() -> Vec<PatchTarget> {
    released("FLUX.1-dev")
}

fn stable_diffusion_3() -> Vec<PatchTarget> {
    released("Stable Diffusion 3.5 Medium")
}

/// Parameters of the transformer that `wanted` holds for.
fn parameters(wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let shapes = parameter_shapes(&FluxConfig::dev().empty(&Device::flex()));
    shapes.into_keys().filter(|path| wanted(path)).collect()
}

const ATTENTION: [&str; 4] = ["query", "key", "value", "attention_output"];
const SINGLE_ATTENTION: [&str; 3] = ["query", "key", "value"];

/// Weights in blocks whose module is among `double` in double blocks, or `single` in single ones.
fn in_blocks(double: &[&str], single: &[&str]) -> BTreeSet<String> {
    parameters(|path| {
        let Some(module) = path.strip_suffix(".weight") else { return false };
        let parts: Vec<&str> = module.splitn(4, '.').collect();
        match parts[..] {
            ["double_blocks", _, _, module] => double.contains(&module),
            ["single_blocks", _, module] => single.contains(&module),
            _ => false,
        }
    })
}

/// What a list patches in the transformer, how many modules of each text encoder, and the report.
fn resolve(name: &str, tensors: &Shapes) -> (BTreeSet<String>, BTreeMap<ComponentId, usize>, Report) {
    let folder = tempfile::tempdir().unwrap();
    let lora = Lora::open(&write_hollow(folder.path(), name, tensors)).unwrap();
    let parameters = lora.patched_parameters(&flux());
    let transformer = parameters.into_iter().filter(|(component, _)| *component == TRANSFORMER).map(|(_, path)| path).collect();
    let report = lora.report(&flux());
    (transformer, report.matched.clone(), report)
}

#[test]
fn every_published_layout_patches_exactly_the_weights_it_names() {
    let feed_forward = ["feed_forward.input", "feed_forward.output"];
    let double = [&ATTENTION[..], &feed_forward].concat();
    let with_modulation = [&double[..], &["modulation"]].concat();
    let first_of_feed_forward = [&ATTENTION[..], &["feed_forward.input"]].concat();
    let single = [&SINGLE_ATTENTION[..], &["feed_forward_input", "output"]].concat();
    let single_with_modulation = [&single[..], &["modulation"]].concat();
    let with_final_projection = |mut paths: BTreeSet<String>| {
        paths.insert("final_projection.weight".to_owned());
        paths
    };
    let xlabs_sample = || {
        let all = in_blocks(&ATTENTION, &[]).into_iter();
        all.filter(|path| ["0", "1", "10"].contains(&path.split('.').nth(1).unwrap())).collect::<BTreeSet<_>>()
    };
    let expected: [(&str, BTreeSet<String>); 9] = [
        ("control_lora", parameters(|_| true)),
        ("dora_onetrainer", in_blocks(&ATTENTION, &SINGLE_ATTENTION)),
        ("lora_aitoolkit", in_blocks(&double, &single)),
        ("lora_diffusers", in_blocks(&with_modulation, &single_with_modulation)),
        ("lora_diffusers_base_model", with_final_projection(in_blocks(&first_of_feed_forward, &single))),
        ("lora_diffusers_no_proj_mlp", in_blocks(&double, &SINGLE_ATTENTION)),
        ("lora_kohya", in_blocks(&with_modulation, &single_with_modulation)),
        ("lora_kohya_with_te1", in_blocks(&with_modulation, &single_with_modulation)),
        ("lora_xlabs", xlabs_sample()),
    ];
    let lists = lists();
    for (name, expected) in expected {
        let (found, _, report) = resolve(name, &lists[name]);
        assert!(report.fits(), "{report}");
        assert_eq!(report.num_tensors, lists[name].len(), "every tensor is a part of an adapter: {report}");
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn modules_of_text_encoders_find_their_encoders() {
    let lists = lists();
    let (_, matched, _) = resolve("te1", &lists["lora_kohya_with_te1"]);
    assert_eq!(matched.get(&CLIP_L), Some(&(12 * 6)));
    assert_eq!(matched.get(&T5XXL), None);
    let (_, matched, _) = resolve("onetrainer", &lists["dora_onetrainer"]);
    assert_eq!(matched.get(&CLIP_L), Some(&(12 * 6)));
    let t5_keys = lists["dora_onetrainer"].keys().filter(|key| key.starts_with("lora_te2_"));
    // Four tensors each: two factors, alpha, magnitude.
    assert_eq!(matched.get(&T5XXL), Some(&(t5_keys.count() / 4)));
}

/// The names and shapes of a LoRA of rank 4 on modules with these rows and columns.
fn low_rank(modules: &[(&str, usize, usize)], [down, up]: [&str; 2]) -> Shapes {
    let tensors = |(module, rows, columns): &(&str, usize, usize)| {
        [(format!("{module}.{down}.weight"), vec![4, *columns]), (format!("{module}.{up}.weight"), vec![*rows, 4])]
    };
    modules.iter().flat_map(tensors).collect()
}

/// The report of a LoRA on such modules, with names as kohya and as diffusers end them.
fn report(modules: &[(&str, usize, usize)], targets: &[PatchTarget]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let suffixes = if modules[0].0.contains('.') { ["lora_A", "lora_B"] } else { ["lora_down", "lora_up"] };
    Lora::open(&write_hollow(folder.path(), "lora", &low_rank(modules, suffixes))).unwrap().report(targets)
}

#[test]
fn the_number_of_a_text_encoder_is_its_place_in_the_model() {
    let kohya_clip = ("lora_te2_text_model_encoder_layers_0_mlp_fc1", 5120, 1280);
    let diffusers_clip = ("text_encoder_2.text_model.encoder.layers.0.mlp.fc1", 5120, 1280);
    let [kohya_second_t5, kohya_third_t5] =
        ["lora_te2_encoder_block_0_layer_0_SelfAttention_q", "lora_te3_encoder_block_0_layer_0_SelfAttention_q"];
    let [second_t5, third_t5] =
        ["text_encoder_2.encoder.block.0.layer.0.SelfAttention.q", "text_encoder_3.encoder.block.0.layer.0.SelfAttention.q"];
    let (flux, stable_diffusion_3) = (flux(), stable_diffusion_3());
    for (module, targets, component) in [
        (kohya_clip, &stable_diffusion_3, CLIP_G),
        (diffusers_clip, &stable_diffusion_3, CLIP_G),
        ((kohya_third_t5, 4096, 4096), &stable_diffusion_3, T5XXL),
        ((third_t5, 4096, 4096), &stable_diffusion_3, T5XXL),
        ((kohya_second_t5, 4096, 4096), &flux, T5XXL),
        ((second_t5, 4096, 4096), &flux, T5XXL),
        // Files that name the kind, or count the encoders of another model, mean the same network.
        (("text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q", 4096, 4096), &flux, T5XXL),
        (("clip_g.transformer.text_model.encoder.layers.0.mlp.fc1", 5120, 1280), &stable_diffusion_3, CLIP_G),
        ((third_t5, 4096, 4096), &flux, T5XXL),
        ((second_t5, 4096, 4096), &stable_diffusion_3, T5XXL),
    ] {
        let report = report(&[module], targets);
        assert!(report.fits(), "{report}");
        assert_eq!(report.matched, BTreeMap::from([(component, 1)]), "{}", module.0);
    }
}

#[test]
fn unexpected_modules_are_named_with_the_components_that_were_searched() {
    let clip_g = "text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1";
    let second = "text_encoder_2.text_model.encoder.layers.0.mlp.fc1";
    let transformer = "transformer.nowhere";
    let report = report(&[(clip_g, 5120, 1280), (second, 5120, 1280), (transformer, 8, 8)], &flux());
    let searched: BTreeMap<_, _> =
        report.unexpected.iter().map(|unexpected| (unexpected.name.as_str(), unexpected.searched.as_slice())).collect();
    assert_eq!(searched, BTreeMap::from([(clip_g, &[][..]), (second, &[T5XXL]), (transformer, &[TRANSFORMER])]));
    let lines = report.to_string();
    for line in [
        format!("{clip_g} is for a text encoder that this model does not have here"),
        format!("{second} is nothing in the T5"),
        format!("{transformer} is nothing in the transformer"),
    ] {
        assert!(lines.contains(&line), "{line}: {lines}");
    }
}

#[test]
fn patches_are_equal_unless_the_strength_may_be_turned() {
    let folder = tempfile::tempdir().unwrap();
    let module = ("transformer.transformer_blocks.0.attn.to_q", 3072, 3072);
    let lora = Lora::open(&write_hollow(folder.path(), "lora", &low_rank(&[module], ["lora_A", "lora_B"]))).unwrap();
    let (targets, device) = (flux(), Device::flex());
    let differ = |set: &LoraSet| {
        let [first, second] = [0; 2].map(|_| set.patches(&targets, &device).unwrap().0.remove(&TRANSFORMER).unwrap());
        !first.differing_from(&second).is_empty()
    };
    assert!(!differ(&LoraSet::new().with(&lora, 0.5)));
    // A bias keeps the strength that it had when the set was applied, so that applying the set again has to touch it.
    assert!(differ(&LoraSet::new().with_variable(&lora, &Strength::new(0.5))));
}

#[test]
fn the_control_lora_widens_the_image_projection_and_nothing_else() {
    let (_, _, report) = resolve("control", &lists()["control_lora"]);
    assert_eq!(report.widened, ["img_in"]);
}

#[test]
fn names_of_the_lokr_sample_are_found_and_its_shapes_refused() {
    let lists = lists();
    let (found, _, report) = resolve("lokr", &lists["lokr_bfl"]);
    assert!(found.is_empty() && report.unexpected.is_empty(), "{report}");
    let mismatched: BTreeMap<&str, [usize; 2]> =
        report.mismatched.iter().map(|mismatched| (mismatched.name.as_str(), mismatched.expected)).collect();
    assert_eq!(
        mismatched,
        BTreeMap::from([
            ("diffusion_model.double_blocks.0.img_attn.proj", [3072, 3072]),
            ("diffusion_model.double_blocks.0.img_attn.qkv", [9216, 3072]),
            ("diffusion_model.double_blocks.0.img_mlp.0", [12288, 3072]),
            ("diffusion_model.double_blocks.0.img_mlp.2", [3072, 12288]),
            ("diffusion_model.single_blocks.0.linear1", [21504, 3072]),
            ("diffusion_model.single_blocks.0.linear2", [3072, 15360]),
        ])
    );
    // The same names with factors that do fit.
    let fitting: Shapes = lists["lokr_bfl"]
        .keys()
        .map(|key| {
            let module = key.rsplit_once('.').unwrap().0;
            let [rows, columns] = mismatched[module];
            let shape = match key.rsplit_once('.').unwrap().1 {
                "lokr_w1" => vec![16, 16],
                "lokr_w2" => vec![rows / 16, columns / 16],
                _ => vec![],
            };
            (key.clone(), shape)
        })
        .collect();
    let (found, _, report) = resolve("lokr", &fitting);
    assert!(report.fits(), "{report}");
    let first = |paths: BTreeSet<String>| paths.into_iter().filter(|path| path.split('.').nth(1) == Some("0"));
    let image =
        first(in_blocks(&["query", "key", "value", "attention_output", "feed_forward.input", "feed_forward.output"], &[]))
            .filter(|path| path.contains(".image."));
    let single = first(in_blocks(&[], &["query", "key", "value", "feed_forward_input", "output"]));
    assert_eq!(found, image.chain(single).collect::<BTreeSet<_>>());
}

#[test]
fn a_lora_for_flux_does_not_fit_stable_diffusion_3() {
    let folder = tempfile::tempdir().unwrap();
    let lists = lists();
    let targets = stable_diffusion_3();
    for list in ["lora_kohya", "lora_xlabs", "lora_diffusers"] {
        let lora = Lora::open(&write_hollow(folder.path(), list, &lists[list])).unwrap();
        let error = LoraSet::new().with(&lora, 1.0).patches(&targets, &Device::flex()).unwrap_err();
        let LoraError::DoesNotFit { report } = &error else { panic!("{error}") };
        assert_eq!(report.made_for, Some("FLUX.1 or a relative"), "{list}");
        assert_eq!(report.num_matched(), 0, "{list}");
    }
}
