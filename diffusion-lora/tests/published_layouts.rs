//! Names and shapes of published LoRAs against FLUX.1-dev at full size.
//!
//! `data/lora_keys.json.gz` has the names and shapes of ten layouts as people publish them. The lists of XLabs and LoKr are
//! samples of a few blocks; the LoKr sample has shapes that no weight of FLUX.1 has, so only its names count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use diffusion_core::Part;
use diffusion_core::checkpoint::{PublishedNames, parameter_shapes};
use diffusion_lora::{Lora, LoraError, LoraSet, Report};
use diffusion_models::clip::ClipConfig;
use diffusion_models::flux::FluxConfig;
use diffusion_models::t5::T5Config;

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

fn flux() -> BTreeMap<Part, PublishedNames> {
    BTreeMap::from([
        (Part::Transformer, FluxConfig::dev().published_names()),
        (Part::ClipL, ClipConfig::large().published_names()),
        (Part::T5, T5Config::xxl().published_names()),
    ])
}

/// Parameters of the transformer that `wanted` holds for.
fn parameters(wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let shapes = parameter_shapes(&FluxConfig::dev().init(FloatDType::F32, &Device::flex()));
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

/// What a list changes in the transformer, how many modules of each text encoder, and the report.
fn resolve(name: &str, tensors: &Shapes) -> (BTreeSet<String>, BTreeMap<Part, usize>, Report) {
    let folder = tempfile::tempdir().unwrap();
    let lora = Lora::open(&write_hollow(folder.path(), name, tensors)).unwrap();
    let targets = lora.targets(&flux());
    let transformer = targets.into_iter().filter(|(part, _)| *part == Part::Transformer).map(|(_, path)| path).collect();
    let report = lora.report(&flux());
    (transformer, report.matched.clone(), report)
}

#[test]
fn every_published_layout_changes_exactly_the_weights_it_names() {
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
fn text_encoder_parts_find_their_encoders() {
    let lists = lists();
    let (_, matched, _) = resolve("te1", &lists["lora_kohya_with_te1"]);
    assert_eq!(matched.get(&Part::ClipL), Some(&(12 * 6)));
    assert_eq!(matched.get(&Part::T5), None);
    let (_, matched, _) = resolve("onetrainer", &lists["dora_onetrainer"]);
    assert_eq!(matched.get(&Part::ClipL), Some(&(12 * 6)));
    let t5_keys = lists["dora_onetrainer"].keys().filter(|key| key.starts_with("lora_te2_"));
    // Four tensors each: two factors, alpha, magnitude.
    assert_eq!(matched.get(&Part::T5), Some(&(t5_keys.count() / 4)));
}

#[test]
fn the_control_lora_widens_the_picture_projection_and_nothing_else() {
    let (_, _, report) = resolve("control", &lists()["control_lora"]);
    assert_eq!(report.widened, ["img_in"]);
}

#[test]
fn names_of_the_lokr_sample_are_found_and_its_shapes_refused() {
    let lists = lists();
    let (found, _, report) = resolve("lokr", &lists["lokr_bfl"]);
    assert!(found.is_empty() && report.unmatched.is_empty(), "{report}");
    let misshapen: BTreeMap<&str, [usize; 2]> =
        report.misshapen.iter().map(|misshapen| (misshapen.name.as_str(), misshapen.expected)).collect();
    assert_eq!(
        misshapen,
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
            let [rows, columns] = misshapen[module];
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
    let names = BTreeMap::from([(Part::Transformer, diffusion_models::sd3::Sd3Config::medium_3_5().published_names())]);
    for list in ["lora_kohya", "lora_xlabs", "lora_diffusers"] {
        let lora = Lora::open(&write_hollow(folder.path(), list, &lists[list])).unwrap();
        let error = LoraSet::new().with(&lora, 1.0).changes(names.clone(), &Device::flex()).unwrap_err();
        let LoraError::DoesNotFit { report } = &error else { panic!("{error}") };
        assert_eq!(report.made_for, Some("FLUX.1 or a relative"), "{list}");
        assert_eq!(report.num_matched(), 0, "{list}");
    }
}
