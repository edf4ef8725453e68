//! Reading, merging, switching and restoring LoRAs on bf16 weights of FLUX.1's widths.
//!
//! - `xlabs`: rank 16 on the attention of all 19 double blocks, as FLUX.1-RealismLora is: 1.4 billion weights, 2.9 GB
//! - `kohya`: rank 16 on every layer of 4 of 19 double and 8 of 38 single blocks: 2.5 billion weights, 5 GB
//!
//! `floor` reads the touched weights once and writes as many bytes once, with all cores: no switch can be faster.
//!
//! The weights are a hole in a file, which reads as zeros: neither copying nor rounding is faster for them.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::{Device, FloatDType};
use criterion::{Criterion, criterion_group, criterion_main};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::weights::{ComponentPatches, LoadedNetwork, PatchMode, PatchTarget, parameter_shapes};
use diffusion_core::{Loading, Precision};
use diffusion_lora::{Lora, LoraSet};
use diffusion_models::NetworkConfig;
use diffusion_models::components::TRANSFORMER;
use diffusion_models::flux::{FluxConfig, FluxTransformer};
use rayon::prelude::*;
use serde_json::{Map, json};
use tempfile::TempDir;

const RANK: usize = 16;

/// A safetensors file of these names and shapes: `values` if there are some, else a hole.
fn write(path: &Path, dtype: &str, size: usize, tensors: &[(String, Vec<usize>)], values: &[f32]) {
    let (mut end, mut header) = (0, Map::new());
    for (name, shape) in tensors {
        let start = end;
        end += size * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}));
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.write_all(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

/// Modules of the original layout: name, rows, columns.
type Modules = Vec<(String, usize, usize)>;

fn xlabs(config: &FluxConfig) -> Modules {
    let hidden = config.hidden_size();
    let block = |index: usize| {
        let processors = [("qkv_lora1", 3), ("proj_lora1", 1), ("qkv_lora2", 3), ("proj_lora2", 1)];
        processors.map(|(name, parts)| (format!("double_blocks.{index}.processor.{name}"), parts * hidden, hidden))
    };
    (0..config.num_double_layers).flat_map(block).collect()
}

fn kohya(config: &FluxConfig) -> Modules {
    let (hidden, inner) = (config.hidden_size(), config.inner_size());
    let double = |index: usize| {
        ["img", "txt"].into_iter().flat_map(move |stream| {
            let name = |module: &str| format!("lora_unet_double_blocks_{index}_{stream}_{module}");
            [
                (name("attn_qkv"), 3 * hidden, hidden),
                (name("attn_proj"), hidden, hidden),
                (name("mlp_0"), inner, hidden),
                (name("mlp_2"), hidden, inner),
                (name("mod_lin"), 6 * hidden, hidden),
            ]
        })
    };
    let single = |index: usize| {
        let name = |module: &str| format!("lora_unet_single_blocks_{index}_{module}");
        [
            (name("linear1"), 3 * hidden + inner, hidden),
            (name("linear2"), hidden, hidden + inner),
            (name("modulation_lin"), 3 * hidden, hidden),
        ]
    };
    (0..config.num_double_layers).flat_map(double).chain((0..config.num_single_layers).flat_map(single)).collect()
}

fn write_lora(folder: &Path, seed: u64, modules: &Modules, [down, up]: [&str; 2]) -> PathBuf {
    let path = folder.join(format!("{seed}.safetensors"));
    let tensors: Vec<(String, Vec<usize>)> = modules
        .iter()
        .flat_map(|(name, rows, columns)| {
            [(format!("{name}.{down}.weight"), vec![RANK, *columns]), (format!("{name}.{up}.weight"), vec![*rows, RANK])]
        })
        .collect();
    let len = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let values: Vec<f32> = TorchGenerator::new(seed).normal(len).into_iter().map(|x| 0.01 * x).collect();
    write(&path, "F32", 4, &tensors, &values);
    path
}

struct Bench {
    _folder: TempDir,
    loras: [PathBuf; 2],
    checkpoint: Checkpoint,
    transformer: Option<FluxTransformer>,
    targets: Vec<PatchTarget>,
}

impl Bench {
    fn new(config: &FluxConfig, modules: &Modules, suffixes: [&str; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::flex();
        let shapes: Vec<_> = parameter_shapes(&config.init(FloatDType::F32, &device)).into_iter().collect();
        let path = folder.path().join("transformer.safetensors");
        write(&path, "BF16", 2, &shapes, &[]);
        let checkpoint = Checkpoint::open(&path).unwrap();
        let loading = Loading::new(Precision::f32(), &device);
        let transformer = FluxTransformer::load(checkpoint.clone(), config, &loading).unwrap();
        let loras = [1, 2].map(|seed| write_lora(folder.path(), seed, modules, suffixes));
        let aliases = vec![TRANSFORMER.name()];
        let targets = vec![PatchTarget { component: TRANSFORMER, aliases, names: config.published_names() }];
        Self { _folder: folder, loras, checkpoint, transformer: Some(transformer), targets }
    }

    fn patches(&self, lora: &Lora) -> ComponentPatches {
        LoraSet::new().with(lora, 0.8).patches(&self.targets, &Device::flex()).unwrap().0
    }

    fn apply(&mut self, patches: &ComponentPatches) {
        let patches = patches.get(&TRANSFORMER).cloned().unwrap_or_default();
        self.transformer = self.transformer.take().map(|transformer| transformer.patched(&patches, PatchMode::Fuse).unwrap());
    }

    /// Time to read the touched weights, and to write as many bytes into memory that is there.
    fn floor(&self, patches: &ComponentPatches) -> impl FnMut() -> Duration {
        let sources: Vec<_> =
            patches[&TRANSFORMER].paths().map(|path| self.checkpoint.get(path).expect("a touched weight").bytes()).collect();
        let mut targets: Vec<Vec<u8>> = sources.iter().map(|source| vec![1; source.len()]).collect();
        move || {
            const CHUNK: usize = 1 << 18;
            let start = Instant::now();
            for (target, source) in targets.iter_mut().zip(&sources) {
                target.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK)).for_each(|(to, from)| to.copy_from_slice(from));
            }
            start.elapsed()
        }
    }

    fn run(mut self, criterion: &mut Criterion, name: &str) {
        let [first, second] = self.loras.clone().map(|path| Lora::open(&path).unwrap());
        let [first, second] = [self.patches(&first), self.patches(&second)];
        let none = ComponentPatches::new();
        let mut floor = self.floor(&first);
        floor();
        criterion.bench_function(&format!("lora/{name}/floor"), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| floor()).sum());
        });
        drop(floor);
        criterion.bench_function(&format!("lora/{name}/read"), |bencher| {
            bencher.iter(|| self.patches(&Lora::open(&self.loras[0]).unwrap()));
        });
        let mut timed = |criterion: &mut Criterion, action: &str, before: &ComponentPatches, to: &ComponentPatches| {
            criterion.bench_function(&format!("lora/{name}/{action}"), |bencher| {
                bencher.iter_custom(|times| {
                    let one = |_| {
                        self.apply(before);
                        let start = Instant::now();
                        self.apply(to);
                        start.elapsed()
                    };
                    (0..times).map(one).sum()
                });
            });
        };
        timed(criterion, "merge", &none, &first);
        timed(criterion, "switch", &first, &second);
        timed(criterion, "restore", &first, &none);
    }
}

fn loras(criterion: &mut Criterion) {
    let config = FluxConfig { num_single_layers: 1, ..FluxConfig::dev() };
    Bench::new(&config, &xlabs(&config), ["down", "up"]).run(criterion, "xlabs");
    let config = FluxConfig { num_double_layers: 4, num_single_layers: 8, ..FluxConfig::dev() };
    Bench::new(&config, &kohya(&config), ["lora_down", "lora_up"]).run(criterion, "kohya");
}

criterion_group! {
    name = lora;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(10));
    targets = loras
}
criterion_main!(lora);
