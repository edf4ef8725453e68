//! Files of trained adapters: written, read back, and compared with what published files have.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{FLUX, Layout, SD3, pipeline};
use diffusion_core::Precision;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::format::Format;
use diffusion_core::weights::{ComponentId, PatchTarget, PatchWeights};
use diffusion_lora::dialects::Dialect;
use diffusion_lora::train::{
    FactorFormat, KroneckerFactor, LoraSpelling, TrainedFactors, TrainedLora, TrainedLoraError, TrainedModule, TrainingNotes,
    TrainingRandom,
};
use diffusion_lora::{Lora, LoraSet};
use diffusion_models::components::{CLIP_G, CLIP_L, TRANSFORMER};
use diffusion_models::released_models;
use serde_json::{Value, json};

const SPELLINGS: [LoraSpelling; 2] = [LoraSpelling::Diffusers, LoraSpelling::Kohya];

fn targets(fixture: &str) -> Vec<PatchTarget> {
    pipeline(fixture, Layout::Folder, Precision::f32()).patch_targets()
}

/// Matrices of the components that `wanted` holds for, by path.
fn matrices(targets: &[PatchTarget], wanted: impl Fn(ComponentId, &str) -> bool) -> BTreeMap<(ComponentId, String), [usize; 2]> {
    let parts = targets.iter().flat_map(|target| {
        let tensors = target.names.iter().filter(|(name, _)| name.ends_with(".weight"));
        tensors.flat_map(|(_, tensor)| &tensor.parts).map(|part| (target.component, part))
    });
    let matrices = parts.filter_map(|(component, part)| match part.shape[..] {
        [rows, columns] if wanted(component, &part.parameter) => Some(((component, part.parameter.clone()), [rows, columns])),
        _ => None,
    });
    matrices.collect()
}

/// Everything in blocks, and what is around them: also what is fused, and what lies in another order.
fn all(component: ComponentId, path: &str) -> bool {
    let is_embedding = path.contains("embedding.weight") || path.contains("token_embedding") || path.contains("position");
    [TRANSFORMER, CLIP_L, CLIP_G].contains(&component) && !path.contains("norm") && !is_embedding && path != "projection.weight"
}

fn is_attention(component: ComponentId, path: &str) -> bool {
    let parts = ["query", "key", "value"];
    component == TRANSFORMER && path.ends_with(".weight") && path.rsplit('.').nth(1).is_some_and(|name| parts.contains(&name))
}

struct Draws(TrainingRandom);

impl Draws {
    fn new(seed: u64) -> Self {
        Self(TrainingRandom::new(seed, 0, 0))
    }

    fn matrix(&mut self, rows: usize, columns: usize) -> Tensor<2> {
        let data = TensorData::new(self.0.normals(rows * columns), [rows, columns]);
        Tensor::from_data(data, (&Device::flex(), DType::F32))
    }

    fn low_rank(&mut self, component: ComponentId, parameter: &str, [rows, columns]: [usize; 2], is_dora: bool) -> TrainedModule {
        let rank = 1 + self.0.below(3);
        let (down, up) = (self.matrix(rank, columns), self.matrix(rows, rank));
        let magnitude = is_dora.then(|| self.matrix(rows, 1).abs() + 0.5);
        let alpha = [1.0, rank as f64, 2.5][self.0.below(3)];
        let factors = TrainedFactors::LowRank { down, up, magnitude };
        TrainedModule { component, parameter: parameter.to_owned(), factors, rank, alpha }
    }

    fn modules(&mut self, of: &BTreeMap<(ComponentId, String), [usize; 2]>, is_dora: bool) -> Vec<TrainedModule> {
        of.iter().map(|((component, path), shape)| self.low_rank(*component, path, *shape, is_dora)).collect()
    }
}

fn lora<'a>(
    modules: &'a [TrainedModule],
    targets: &'a [PatchTarget],
    spelling: LoraSpelling,
    notes: &'a TrainingNotes,
) -> TrainedLora<'a> {
    TrainedLora { modules, targets, spelling, format: FactorFormat::F32, notes }
}

/// A weight to patch.
fn base([rows, columns]: [usize; 2]) -> Tensor<2> {
    let values: Vec<f32> = (0..rows * columns).map(|index| (index as f32 * 0.7).sin()).collect();
    Tensor::from_data(TensorData::new(values, [rows, columns]), (&Device::flex(), DType::F32))
}

fn shape(module: &TrainedModule) -> [usize; 2] {
    match &module.factors {
        TrainedFactors::LowRank { down, up, .. } => [up.dims()[0], down.dims()[1]],
        TrainedFactors::Kronecker(factors) => {
            let [first, second] = factors.each_ref().map(|factor| whole(factor).dims());
            [first[0] * second[0], first[1] * second[1]]
        }
    }
}

fn whole(factor: &KroneckerFactor) -> Tensor<2> {
    match factor {
        KroneckerFactor::Whole(whole) => whole.clone(),
        KroneckerFactor::Product { up, down } => up.clone().matmul(down.clone()),
    }
}

/// The same by the definitions of the methods.
fn expected(module: &TrainedModule) -> Tensor<2> {
    let base = base(shape(module));
    match &module.factors {
        TrainedFactors::LowRank { down, up, magnitude } => {
            let direction = base + up.clone().matmul(down.clone()).mul_scalar(module.scale());
            match magnitude {
                Some(magnitude) => direction.clone() / direction.square().sum_dim(1).sqrt() * magnitude.clone(),
                None => direction,
            }
        }
        TrainedFactors::Kronecker(factors) => {
            let [first, second] = factors.each_ref().map(whole);
            let ([a, b], [c, d]) = (first.dims(), second.dims());
            let product = first.reshape([a, 1, b, 1]) * second.reshape([1, c, 1, d]);
            base + product.reshape([a * c, b * d]).mul_scalar(module.scale())
        }
    }
}

/// Scales are applied in another order: a few units in the last place of sums of up to nine products.
#[track_caller]
fn assert_patched(found: Tensor<2>, module: &TrainedModule) {
    let largest = |tensor: Tensor<2>| tensor.abs().max().into_scalar::<f32>();
    let expected = expected(module);
    let (error, size) = (largest(found - expected.clone()), largest(expected));
    assert!(error <= 1e-6 * size, "{}: {error} of {size}", module.parameter);
}

/// Fails if our reader makes something else of the weights, or patches others.
#[track_caller]
fn assert_read_back(path: &Path, targets: &[PatchTarget], modules: &[TrainedModule]) {
    let lora = Lora::open(path).unwrap();
    let report = lora.report(targets);
    assert!(report.fits(), "{report}");
    let expected: BTreeSet<_> = modules.iter().map(|module| (module.component, module.parameter.clone())).collect();
    assert_eq!(lora.patched_parameters(targets).into_iter().collect::<BTreeSet<_>>(), expected);
    let (patches, _) = LoraSet::new().with(&lora, 1.0).patches(targets, &Device::flex()).unwrap();
    for module in modules {
        let patch = patches[&module.component].get(&module.parameter).unwrap();
        assert_patched(patch.fused(base(shape(module))), module);
    }
}

#[test]
fn what_is_written_is_read_back_in_every_spelling() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    for fixture in [SD3, FLUX] {
        let targets = targets(fixture);
        for is_dora in [false, true] {
            let modules = Draws::new(1).modules(&matrices(&targets, all), is_dora);
            assert!(modules.len() > 30 && modules.iter().any(|module| module.component == CLIP_L));
            for spelling in SPELLINGS {
                let notes = TrainingNotes::default();
                lora(&modules, &targets, spelling, &notes).write(&path).unwrap();
                assert_read_back(&path, &targets, &modules);
                let dialect = if spelling == LoraSpelling::Kohya { Dialect::Kohya } else { Dialect::Diffusers };
                assert_eq!(Lora::open(&path).unwrap().dialects(), [dialect]);
            }
        }
    }
}

#[test]
fn factors_in_the_spelling_of_diffusers_are_equal_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let targets = targets(SD3);
    let query = |_, path: &str| path == "blocks.1.text.attention.query.weight";
    let modules = Draws::new(2).modules(&matrices(&targets, query), true);
    lora(&modules, &targets, LoraSpelling::Diffusers, &TrainingNotes::default()).write(&path).unwrap();
    let file = Checkpoint::open(&path).unwrap();
    let TrainedFactors::LowRank { down, up, magnitude: Some(magnitude) } = &modules[0].factors else { panic!() };
    for (ending, tensor, shape) in [
        ("lora_A.weight", down, down.dims().into()),
        ("lora_B.weight", up, up.dims().into()),
        ("lora_magnitude_vector", magnitude, vec![up.dims()[0]]),
    ] {
        let stored = file.get(&format!("transformer.transformer_blocks.1.attn.add_q_proj.{ending}")).unwrap();
        assert_eq!((stored.shape(), stored.format()), (&shape[..], Format::F32));
        assert_eq!(stored.to_f32().unwrap(), tensor.to_data().iter::<f32>().collect::<Vec<_>>());
    }
    assert_eq!(file.tensors().count(), 3);
}

#[test]
fn kronecker_products_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    for fixture in [SD3, FLUX] {
        let targets = targets(fixture);
        let mut draws = Draws::new(3);
        let of = matrices(&targets, is_attention);
        let modules: Vec<TrainedModule> = of
            .iter()
            .enumerate()
            .map(|(index, ((component, path), [rows, columns]))| {
                let (rank, [rows, columns]) = (2, [rows / 2, columns / 2]);
                let mut product =
                    |rows, columns| KroneckerFactor::Product { up: draws.matrix(rows, rank), down: draws.matrix(rank, columns) };
                let (small, large) = (product(2, 2), product(rows, columns));
                let [first, second] = [&small, &large].map(|factor| KroneckerFactor::Whole(whole(factor)));
                let factors = TrainedFactors::Kronecker(match index % 4 {
                    0 => [first, second],
                    1 => [first, large],
                    2 => [small, second],
                    _ => [small, large],
                });
                TrainedModule { component: *component, parameter: path.clone(), factors, rank, alpha: 3.0 }
            })
            .collect();
        for spelling in SPELLINGS {
            lora(&modules, &targets, spelling, &TrainingNotes::default()).write(&path).unwrap();
            assert_read_back(&path, &targets, &modules);
        }
    }
}

#[test]
fn names_are_those_of_published_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora_keys.json.gz");
    let lists: BTreeMap<String, BTreeMap<String, Vec<usize>>> =
        serde_json::from_reader(flate2::read::GzDecoder::new(fs::File::open(lists).unwrap())).unwrap();
    let targets = released_models().into_iter().find(|(name, _)| *name == "FLUX.1-dev").unwrap().1;
    for (list, spelling) in [("lora_diffusers", LoraSpelling::Diffusers), ("lora_kohya", LoraSpelling::Kohya)] {
        let published: BTreeSet<&str> = lists[list].keys().map(String::as_str).collect();
        let of = matrices(&targets, |component, path| {
            component == TRANSFORMER && path.contains("_blocks.") && path.ends_with(".weight") && !path.contains("norm")
        });
        let modules: Vec<TrainedModule> = of
            .into_iter()
            .map(|((component, parameter), [rows, columns])| {
                let zeros = |shape| Tensor::zeros(shape, (&Device::flex(), DType::F32));
                let factors = TrainedFactors::LowRank { down: zeros([1, columns]), up: zeros([rows, 1]), magnitude: None };
                TrainedModule { component, parameter, factors, rank: 1, alpha: 1.0 }
            })
            .collect();
        lora(&modules, &targets, spelling, &TrainingNotes::default()).write(&path).unwrap();
        let file = Checkpoint::open(&path).unwrap();
        let found: BTreeSet<&str> = file.tensors().map(|(name, _)| name).collect();
        assert_eq!(found, published, "{list}");
    }
}

#[test]
fn parts_of_a_fused_matrix_keep_their_alpha_and_absent_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let targets = targets(FLUX);
    // Queries and keys of one block, the input of the feed-forward network of another.
    let trained = ["single_blocks.0.query.weight", "single_blocks.0.key.weight", "single_blocks.1.feed_forward_input.weight"];
    let of = matrices(&targets, |_, path| trained.contains(&path));
    assert_eq!(of.len(), 3);
    let modules = Draws::new(4).modules(&of, false);
    let modules: Vec<_> = modules.into_iter().map(|module| TrainedModule { alpha: 1.5 * module.rank as f64, ..module }).collect();
    lora(&modules, &targets, LoraSpelling::Kohya, &TrainingNotes::default()).write(&path).unwrap();
    let file = Checkpoint::open(&path).unwrap();
    let alpha = file.get("lora_unet_single_blocks_0_linear1.alpha").unwrap().to_f32().unwrap()[0];
    let rank = file.shape("lora_unet_single_blocks_0_linear1.lora_down.weight").unwrap()[0];
    assert_eq!(f64::from(alpha), 1.5 * rank as f64);
    let lora = Lora::open(&path).unwrap();
    let (patches, _) = LoraSet::new().with(&lora, 1.0).patches(&targets, &Device::flex()).unwrap();
    for module in &modules {
        assert_patched(patches[&TRANSFORMER].get(&module.parameter).unwrap().fused(base(shape(module))), module);
    }
    // Values were not trained, and are in the same matrix.
    let value = patches[&TRANSFORMER].get("single_blocks.0.value.weight").unwrap();
    let untrained = matrices(&targets, |_, path| path == "single_blocks.0.value.weight");
    let base = base(*untrained.values().next().unwrap());
    assert_eq!(value.fused(base.clone()).into_data(), base.into_data());
}

#[test]
fn the_header_tells_alpha_and_what_the_notes_say() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["first.safetensors", "second.safetensors"].map(|name| folder.path().join(name));
    let targets = targets(SD3);
    let mut modules = Draws::new(5).modules(&matrices(&targets, is_attention), false);
    let notes = TrainingNotes {
        architecture: Some("stable-diffusion-3-5-medium".to_owned()),
        title: Some("A \"title\"\nof two lines".to_owned()),
        settings: [("steps".to_owned(), "7".to_owned())].into(),
        ..TrainingNotes::default()
    };
    for spelling in SPELLINGS {
        lora(&modules, &targets, spelling, &notes).write(&paths[0]).unwrap();
        modules.reverse();
        lora(&modules, &targets, spelling, &notes).write(&paths[1]).unwrap();
        let [first, second] = paths.each_ref().map(|path| fs::read(path).unwrap());
        assert_eq!(first, second, "the same adapters give the same bytes, in any order");
        let file = Checkpoint::open(&paths[0]).unwrap();
        let entries = file.metadata_entries();
        assert_eq!(entries["format"], "pt");
        assert_eq!(entries["modelspec.architecture"], "stable-diffusion-3-5-medium/lora");
        assert_eq!(entries["modelspec.title"], "A \"title\"\nof two lines");
        assert_eq!(entries["modelspec.sai_model_spec"], "1.0.1");
        assert_eq!(entries["modelspec.hash_sha256"], format!("0x{}", entries["sshs_model_hash"]));
        assert_eq!(entries["ss_steps"], "7");
        assert!(!entries.contains_key("modelspec.author"));
        let is_diffusers = spelling == LoraSpelling::Diffusers;
        assert_eq!(entries.contains_key("lora_adapter_metadata"), is_diffusers);
        if is_diffusers {
            let settings: Value = serde_json::from_str(entries["lora_adapter_metadata"]).unwrap();
            assert_eq!(settings["transformer.target_modules"].as_array().unwrap().len(), modules.len());
            assert_eq!(settings["transformer.use_dora"], json!(false));
            assert_eq!(settings["transformer.r"].to_string(), entries["ss_network_dim"]);
        }
    }
}

#[test]
fn folding_alpha_changes_nothing_but_who_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let targets = targets(SD3);
    let modules = Draws::new(6).modules(&matrices(&targets, is_attention), false);
    let folded: Vec<_> = modules.iter().cloned().map(TrainedModule::with_alpha_folded).collect();
    assert!(folded.iter().all(|module| module.scale() == 1.0));
    lora(&folded, &targets, LoraSpelling::Diffusers, &TrainingNotes::default()).write(&path).unwrap();
    assert_read_back(&path, &targets, &modules);
}

#[test]
fn narrower_numbers_are_rounded_and_alpha_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let targets = targets(SD3);
    let modules = Draws::new(7).modules(&matrices(&targets, is_attention), false);
    let notes = TrainingNotes::default();
    for (name, format) in [("f16", Format::F16), ("bf16", Format::BF16)] {
        let written = lora(&modules, &targets, LoraSpelling::Kohya, &notes);
        TrainedLora { format: name.parse().unwrap(), ..written }.write(&path).unwrap();
        let file = Checkpoint::open(&path).unwrap();
        for (name, tensor) in file.tensors() {
            assert_eq!(tensor.format(), if name.rsplit('.').next() == Some("alpha") { Format::F32 } else { format }, "{name}");
        }
        assert!(Lora::open(&path).unwrap().report(&targets).fits());
    }
}

#[test]
fn what_cannot_be_written_is_refused_and_the_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    fs::write(&path, "what was there").unwrap();
    let targets = targets(FLUX);
    let notes = TrainingNotes::default();
    let good = |draws: u64, path: &str| Draws::new(draws).modules(&matrices(&targets, |_, found| found == path), true).remove(0);
    let query = || good(8, "single_blocks.0.query.weight");
    let refused = |modules: &[TrainedModule], spelling| {
        let lora = lora(modules, &targets, spelling, &notes);
        let checked = lora.check(&path).unwrap_err().to_string();
        assert_eq!(lora.write(&path).unwrap_err().to_string(), checked);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
        assert_eq!(fs::read(&path).unwrap(), b"what was there");
        checked
    };
    let diffusers = LoraSpelling::Diffusers;
    assert!(refused(&[], diffusers).contains("nothing to write"));
    assert!(refused(&[query(), query()], diffusers).contains("trained twice"));
    let unknown = TrainedModule { parameter: "blocks.9.weight".to_owned(), ..query() };
    assert!(refused(&[unknown], diffusers).contains("blocks.9.weight"));
    let elsewhere = TrainedModule { component: ComponentId::new("other", "Other"), ..query() };
    assert!(refused(&[elsewhere], diffusers).contains("Other"));
    let wider = TrainedModule { rank: 7, ..query() };
    assert!(refused(&[wider], diffusers).contains("of rank 7"));
    let other_weight = TrainedModule { parameter: "single_blocks.0.feed_forward_input.weight".to_owned(), ..query() };
    assert!(refused(&[other_weight], diffusers).contains("factor `up`"));
    for bad in [f64::NAN, f64::INFINITY] {
        let mut module = query();
        if let TrainedFactors::LowRank { up, .. } = &mut module.factors {
            *up = up.clone().mul_scalar(bad);
        }
        assert!(refused(&[module], diffusers).contains("f32 cannot hold"));
    }
    assert!(refused(&[query()], LoraSpelling::Kohya).contains("only a part of it was trained as DoRA"));
    let mut large = query();
    if let TrainedFactors::LowRank { up, .. } = &mut large.factors {
        *up = up.clone().mul_scalar(1e6);
    }
    let large = [large];
    let in_f16 = TrainedLora { format: FactorFormat::F16, ..lora(&large, &targets, diffusers, &notes) };
    assert!(matches!(in_f16.write(&path), Err(TrainedLoraError::Number { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"what was there");
}
