//! Damaged files for every reader: refused by their name or read, never a panic, a long wait or an allocation without measure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use diffusion_hardening::READERS;
use diffusion_hardening::mutation::{Random, mutated};
use diffusion_hardening::peak_memory::{PeakMemory, peak_of};

#[global_allocator]
static MEMORY: PeakMemory = PeakMemory;

/// Bytes that a reader may take for a file of at most 1 MB. Decoders of images and JSON need a multiple of what they read.
const MEMORY_CAP: usize = 256 << 20;

/// How long a file may take, on a machine that does other things too.
const TIME_CAP: Duration = Duration::from_secs(10);

/// The allocator counts for the whole process, so one reader works at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn mutations() -> usize {
    std::env::var("MUTATIONS").ok().map_or(DEFAULT_MUTATIONS, |count| count.parse().expect("MUTATIONS is a number"))
}

/// For each reader.
const DEFAULT_MUTATIONS: usize = 1000;

/// Read damaged files by one reader.
fn survives(name: &str) {
    let reader = diffusion_hardening::reader(name);
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a temporary folder");
    reader.prepare(folder.path());
    let samples = (reader.samples)();
    for sample in &samples {
        reader.read(folder.path(), sample).unwrap_or_else(|error| panic!("{name} refuses an undamaged sample: {error}"));
    }
    let mut refused = 0;
    let count = mutations();
    for seed in 0..count {
        let damaged = mutated(&samples[seed % samples.len()], &mut Random::new(seed as u64));
        let (mut result, started) = (Ok(()), Instant::now());
        let peak = peak_of(|| {
            let read = || reader.read(folder.path(), &damaged);
            result = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| panic!("{name}, seed {seed}: a panic"));
        });
        assert!(peak <= MEMORY_CAP, "{name}, seed {seed}: {} MiB for {} bytes", peak >> 20, damaged.len());
        assert!(started.elapsed() <= TIME_CAP, "{name}, seed {seed}: {:?}", started.elapsed());
        if let Err(error) = result {
            refused += 1;
            // It, or another that does not go with it.
            let names_a_file = error.contains(&folder.path().display().to_string());
            assert!(names_a_file, "{name}, seed {seed}: the refusal names no file: {error}");
            assert!(!error.contains(['\u{1b}', '\0']), "{name}, seed {seed}: control characters: {error:?}");
        }
    }
    assert!(refused > 0 && refused < count, "{name}: damage without effect, or samples that are not read: {refused} of {count}");
}

macro_rules! readers {
    ($($test:ident: $name:literal,)+) => {
        $(
            #[test]
            fn $test() {
                survives($name);
            }
        )+

        #[test]
        fn every_reader_is_tested_and_at_least_20000_files_are_read() {
            let tested = [$($name),+];
            assert_eq!(tested.as_slice(), READERS.iter().map(|reader| reader.name).collect::<Vec<_>>());
            assert!(tested.len() * DEFAULT_MUTATIONS >= 20_000);
        }
    };
}

readers! {
    safetensors: "safetensors",
    gguf: "gguf",
    shard_indexes: "shard index",
    loras: "lora",
    adapter_configurations: "adapter configuration",
    model_indexes: "model index",
    sd3_configurations: "sd3 configuration",
    flux_configurations: "flux configuration",
    clip_configurations: "clip configuration",
    t5_configurations: "t5 configuration",
    autoencoder_configurations: "autoencoder configuration",
    scheduler_configurations: "scheduler configuration",
    clip_vocabularies: "clip vocabulary",
    clip_merges: "clip merges",
    t5_tokenizers: "t5 tokenizer",
    tokenizer_configurations: "tokenizer configuration",
    special_tokens: "special tokens",
    pictures: "picture",
    masks: "mask",
    prompts: "prompts",
    latents: "latents",
    encoded_prompts: "encoded prompt",
    captions_of_pictures: "captions of pictures",
    ddufs: "dduf",
}
