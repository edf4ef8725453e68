//! Files of random and damaged bytes: refused, or read, but never a panic.

use diffusion_core::checkpoint::Checkpoint;
use proptest::prelude::*;

use crate::files::{data, f32_bytes, open, safetensors};

/// Open `bytes`; read every tensor of what is accepted. A refusal names the file.
fn open_and_read(bytes: &[u8]) {
    match open(bytes) {
        Ok(checkpoint) => read_all(&checkpoint),
        Err(error) => assert!(error.to_string().contains("broken.file"), "{error}"),
    }
}

fn read_all(checkpoint: &Checkpoint) {
    for (name, tensor) in checkpoint.tensors() {
        assert_eq!(tensor.bytes().len(), tensor.num_bytes(), "{name}");
        if let Ok(values) = tensor.to_f32() {
            assert_eq!(values.len(), tensor.shape().iter().product::<usize>(), "{name}");
        }
    }
}

fn small_safetensors() -> Vec<u8> {
    let (numbers, scale) = (f32_bytes(&[1.0; 6]), f32_bytes(&[2.0]));
    safetensors(&[
        ("a.bias", "F32", &[6], &numbers),
        ("a.weight", "F8_E4M3", &[2, 2], &[1, 2, 3, 4]),
        ("a.scale_weight", "F32", &[], &scale),
        ("scaled_fp8", "F8_E4M3", &[0], &[]),
    ])
}

/// Places and bytes to overwrite them with; a cut.
fn damage(bytes: &[u8], header_len: usize) -> impl Strategy<Value = Vec<u8>> + use<> {
    let (len, original) = (bytes.len(), bytes.to_vec());
    let interesting = prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x80), Just(b'"'), Just(b'}'), Just(b'9')];
    let edits = proptest::collection::vec((0..header_len, interesting), 0..6);
    let cut = prop_oneof![3 => Just(len), 1 => 0..len];
    (edits, cut).prop_map(move |(edits, cut)| {
        let mut bytes = original.clone();
        for (place, byte) in edits {
            bytes[place] = byte;
        }
        bytes.truncate(cut);
        bytes
    })
}

fn tiny_gguf() -> Vec<u8> {
    std::fs::read(data("tiny.gguf")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        open_and_read(&bytes);
        open_and_read(&[b"GGUF", &bytes[..]].concat());
        open_and_read(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
        open_and_read(&[&(bytes.len() as u64).to_le_bytes(), &bytes[..]].concat());
    }

    #[test]
    fn a_damaged_gguf_file_never_panics(bytes in damage(&tiny_gguf(), 1400)) {
        open_and_read(&bytes);
    }

    #[test]
    fn a_damaged_safetensors_file_never_panics(bytes in damage(&small_safetensors(), 290)) {
        open_and_read(&bytes);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for (whole, what) in [(small_safetensors(), "safetensors"), (tiny_gguf(), "GGUF")] {
        assert!(open(&whole).is_ok());
        for len in 0..whole.len() {
            let cut = open(&whole[..len]);
            // The padding after the last tensor of a GGUF file may be missing.
            let error = match cut {
                Err(error) => error.to_string(),
                Ok(_) if what == "GGUF" && whole[len..].iter().all(|&byte| byte == 0) => continue,
                Ok(_) => panic!("{len} of {} bytes of {what}", whole.len()),
            };
            assert!(error.contains("broken.file") && error.contains("download"), "{error}");
        }
    }
}

#[test]
fn a_file_of_another_kind_is_called_by_its_name() {
    for (bytes, named) in [
        (&b"PK\x03\x04\x14\0\0\0\x08\0archive/data.pkl"[..], "PyTorch"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
    ] {
        let error = open(bytes).unwrap_err();
        crate::files::assert_names(&error, "broken.file", &[named]);
    }
}
