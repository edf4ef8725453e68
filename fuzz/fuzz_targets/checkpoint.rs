//! `Checkpoint::from_bytes` on any bytes, safetensors or GGUF, and every tensor of what it accepts.
//!
//! `cargo +nightly fuzz run checkpoint fuzz/corpus/checkpoint diffusion-core/tests/data`

#![no_main]

use std::path::Path;

use diffusion_core::checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(checkpoint) = Checkpoint::from_bytes(Path::new("fuzzed"), bytes.to_vec()) {
        for (_, tensor) in checkpoint.tensors() {
            let _ = tensor.to_f32();
        }
    }
});
