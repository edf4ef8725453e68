//! Files of random and damaged bytes: refused, or read, but never a panic.

use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use proptest::prelude::*;

use crate::files::{GgufFile, assert_names, data, f32_bytes, metadata, open, safetensors};

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
    let zip = |name: &str| [b"PK\x03\x04", &[0; 26][..], name.as_bytes()].concat();
    let cases: [(&[u8], &[&str]); 19] = [
        (&zip("archive/data.pkl"), &["PyTorch", "weights_only=True", "save_file"]),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", &["PyTorch", "weights_only=True"]),
        (b"\x80\x04\x95\x1a\0\0\0\0\0\0\0}\x94.", &["PyTorch"]),
        (&zip("readme.txt"), &["zip archive", "unpack"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", &["Git LFS pointer", "git lfs pull"]),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", &["web page", "licence"]),
        (b"\xef\xbb\xbf\n  <!doctype HTML>", &["web page"]),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", &["web page"]),
        (b"Access to model example/model is restricted. You must be authenticated.", &["short text", "download"]),
        (b"{\"error\": \"Invalid credentials in Authorization header\"}", &["JSON text"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01", &["PNG picture", "model"]),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01", &["JPEG picture"]),
        (b"RIFF\x24\0\0\0WEBPVP8 ", &["WebP picture"]),
        (b"GIF89a\x01\0\x01\0", &["GIF picture"]),
        (b"II*\0\x08\0\0\0\0\0", &["TIFF picture"]),
        (b"BM\x46\0\0\0\0\0\0\0\x36", &["BMP picture"]),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0", &["gzip", "unpack"]),
        (b"\x93NUMPY\x01\0v\0", &["NumPy"]),
        (b"%PDF-1.7\n%\xe2\xe3", &["PDF"]),
    ];
    for (bytes, named) in cases {
        let error = open(bytes).unwrap_err();
        assert!(matches!(error, CheckpointError::OtherKind { .. }), "{error}");
        assert_names(&error, "broken.file", named);
    }
    assert_names(&open(&[]).unwrap_err(), "broken.file", &["is empty", "download"]);
}

#[test]
fn a_header_beyond_what_any_file_has_is_refused_before_it_is_read() {
    let mut file = 100_000_001u64.to_le_bytes().to_vec();
    file.resize(8 + 100_000_001, b' ');
    assert_names(&open(&file).unwrap_err(), "broken.file", &["100000001"]);
}

/// Descriptions of what is read are written out for errors only: a name of a megabyte, once for each of its entries, would take
/// hours.
#[test]
fn long_names_with_many_entries_take_no_time() {
    const ENTRIES: usize = 200_000;
    let array_of_nothing = [4u32.to_le_bytes().to_vec(), 0u64.to_le_bytes().to_vec()].concat();
    let value = [9u32.to_le_bytes().to_vec(), (ENTRIES as u64).to_le_bytes().to_vec(), array_of_nothing.repeat(ENTRIES)].concat();
    let file = GgufFile::new(vec![], 0).with_metadata(metadata(&"k".repeat(1 << 20), 9, &value));
    let start = std::time::Instant::now();
    assert!(open(&file.bytes()).unwrap().is_empty());
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[cfg(unix)]
#[test]
fn devices_sockets_and_folders_of_another_kind_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let [socket, link] = ["socket.safetensors", "link.gguf"].map(|name| folder.path().join(name));
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    for (path, kind) in [(socket, "a socket"), (link, "a device"), ("/dev/null".into(), "a device")] {
        let error = Checkpoint::open(&path).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(matches!(error, CheckpointError::Open { .. }) && source.contains(kind), "{error}: {source}");
    }
}
