//! GGUF files that lie: every refusal names the file, the tensor, what was expected and what was found.

use diffusion_core::checkpoint::{CheckpointError, GgufProblem};

use crate::files::{GgufFile, GgufTensor, assert_names, metadata, open};

fn one(sizes: &[u64], format: u32, offset: u64) -> GgufFile {
    GgufFile::new(vec![GgufTensor::new("blocks.0.weight", sizes, format, offset)], 4096)
}

/// The problem with `bytes`; the text must name the file and all of `named`.
#[track_caller]
fn problem(bytes: &[u8], named: &[&str]) -> GgufProblem {
    let error = open(bytes).expect_err("it is broken");
    assert_names(&error, "broken.file", named);
    match error {
        CheckpointError::Gguf { problem, .. } => *problem,
        other => panic!("{other}"),
    }
}

#[test]
fn an_unknown_format_is_named_by_number_and_name() {
    let found = problem(&one(&[256], 23, 0).bytes(), &["blocks.0.weight", "IQ4_XS", "23", "Q4_K"]);
    assert!(matches!(found, GgufProblem::UnknownFormat { number: 23, name: Some("IQ4_XS"), .. }));
    let found = problem(&one(&[256], 77, 0).bytes(), &["blocks.0.weight", "unknown", "77"]);
    assert!(matches!(found, GgufProblem::UnknownFormat { number: 77, name: None, .. }));
}

#[test]
fn rows_that_are_no_whole_blocks_are_refused() {
    let found = problem(&one(&[48, 2], 8, 0).bytes(), &["blocks.0.weight", "[2, 48]", "Q8_0", "32"]);
    assert!(matches!(found, GgufProblem::Blocks { .. }));
}

#[test]
fn a_tensor_beyond_the_end_is_refused() {
    let found = problem(&one(&[32, 200], 8, 0).bytes(), &["blocks.0.weight", "6800", "4096", "download"]);
    assert!(matches!(found, GgufProblem::Outside { needed: 6800, found: 4096, .. }));
    for offset in [4096, 1 << 40, u64::MAX - 31] {
        let found = problem(&one(&[32], 8, offset).bytes(), &["blocks.0.weight"]);
        assert!(matches!(found, GgufProblem::Outside { .. }), "{found}");
    }
}

#[test]
fn unaligned_data_is_refused() {
    let found = problem(&one(&[32], 8, 16).bytes(), &["blocks.0.weight", "16", "32"]);
    assert!(matches!(found, GgufProblem::Unaligned { offset: 16, alignment: 32, .. }));
    let aligned_to_64 = one(&[32], 8, 32).with_metadata(metadata("general.alignment", 4, &64u32.to_le_bytes()));
    assert!(matches!(problem(&aligned_to_64.bytes(), &["64"]), GgufProblem::Unaligned { alignment: 64, .. }));
}

#[test]
fn an_impossible_alignment_is_refused() {
    for value in [0u32, 3, 1 << 30] {
        let file = one(&[32], 8, 0).with_metadata(metadata("general.alignment", 4, &value.to_le_bytes()));
        let found = problem(&file.bytes(), &["general.alignment", &value.to_string(), "power of two"]);
        assert!(matches!(found, GgufProblem::MetadataValue { .. }));
    }
    let text = one(&[32], 8, 0).with_metadata(metadata("general.alignment", 8, &[0; 8]));
    assert!(matches!(problem(&text.bytes(), &["general.alignment"]), GgufProblem::MetadataValue { .. }));
}

#[test]
fn absurd_counts_are_refused_before_anything_is_made_of_them() {
    for (place, what) in ["tensors", "metadata"].iter().enumerate() {
        for count in [5000, u64::MAX] {
            let mut file = one(&[32], 8, 0);
            file.counts[place] = Some(count);
            let found = problem(&file.bytes(), &[what, &count.to_string()]);
            assert!(matches!(found, GgufProblem::Count { .. }));
        }
    }
    let array = [4u32.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()].concat();
    let file = one(&[32], 8, 0).with_metadata(metadata("some.list", 9, &array));
    assert!(matches!(problem(&file.bytes(), &["some.list"]), GgufProblem::Count { .. }));
}

#[test]
fn absurd_lengths_of_names_are_refused() {
    let mut bytes = one(&[32], 8, 0).bytes();
    bytes[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(problem(&bytes, &["name of a tensor"]), GgufProblem::HeaderEnds { needed: u64::MAX, .. }));
}

#[test]
fn absurd_shapes_are_refused() {
    for sizes in [vec![1 << 40, 1 << 40], vec![u64::MAX, 0, 2], vec![1 << 62], vec![1 << 63, 2, 1, 1]] {
        let found = problem(&one(&sizes, 0, 0).bytes(), &["blocks.0.weight"]);
        assert!(matches!(found, GgufProblem::TooLarge { .. }), "{sizes:?}: {found}");
    }
    let found = problem(&one(&[1; 5], 0, 0).bytes(), &["blocks.0.weight", "5", "4"]);
    assert!(matches!(found, GgufProblem::Dimensions { found: 5, most: 4, .. }));
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    for offset in [0, 64] {
        let tensors = vec![GgufTensor::new("twice", &[8], 0, 0), GgufTensor::new("twice", &[8], 0, offset)];
        let found = problem(&GgufFile::new(tensors, 4096).bytes(), &["twice"]);
        assert!(matches!(found, GgufProblem::Duplicate { .. }), "{found}");
    }
}

#[test]
fn tensors_in_the_same_bytes_are_refused() {
    let tensors = vec![GgufTensor::new("a", &[64], 0, 32), GgufTensor::new("b", &[64], 0, 0)];
    let found = problem(&GgufFile::new(tensors, 4096).bytes(), &["a", "b"]);
    assert!(matches!(found, GgufProblem::Overlap { .. }));
}

#[test]
fn another_version_or_byte_order_is_refused() {
    let mut file = one(&[32], 8, 0);
    file.version = 1;
    assert!(matches!(problem(&file.bytes(), &["version 1"]), GgufProblem::Version { found: 1 }));
    file.version = 3u32.swap_bytes();
    assert!(matches!(problem(&file.bytes(), &["big-endian"]), GgufProblem::BigEndian));
}

#[test]
fn names_and_metadata_of_no_sense_are_refused() {
    let mut file = one(&[32], 8, 0);
    file.tensors[0].name = vec![0xff; 4];
    assert!(matches!(problem(&file.bytes(), &["name of a tensor", "UTF-8"]), GgufProblem::Text { .. }));
    let file = one(&[32], 8, 0).with_metadata(metadata("odd", 13, &[]));
    assert!(matches!(problem(&file.bytes(), &["odd", "13"]), GgufProblem::MetadataType { found: 13, .. }));
    let nested = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat().repeat(9);
    let file = one(&[32], 8, 0).with_metadata(metadata("deep", 9, &nested));
    assert!(matches!(problem(&file.bytes(), &["deep"]), GgufProblem::MetadataValue { .. }));
}

#[test]
fn one_part_of_a_split_file_is_refused() {
    let file = one(&[32], 8, 0).with_metadata(metadata("split.count", 2, &3u16.to_le_bytes()));
    assert!(matches!(problem(&file.bytes(), &["3 parts", "merge"]), GgufProblem::Split { parts: 3 }));
}

#[test]
fn an_original_shape_of_another_size_is_refused() {
    let shape = |sizes: &[i32]| {
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        [5u32.to_le_bytes().to_vec(), (sizes.len() as u64 / 4).to_le_bytes().to_vec(), sizes].concat()
    };
    let key = "comfy.gguf.orig_shape.blocks.0.weight";
    let file = one(&[32, 9], 8, 0).with_metadata(metadata(key, 9, &shape(&[8, 4, 3, 4])));
    let found = problem(&file.bytes(), &["blocks.0.weight", "[9, 32]", "[8, 4, 3, 4]"]);
    assert!(matches!(found, GgufProblem::OriginalShape { .. }));
    let file = one(&[32, 9], 8, 0).with_metadata(metadata(key, 9, &shape(&[-8, 4])));
    assert!(matches!(problem(&file.bytes(), &[key, "-8"]), GgufProblem::MetadataValue { .. }));
    let file = one(&[32, 9], 8, 0).with_metadata(metadata(key, 4, &[0; 4]));
    assert!(matches!(problem(&file.bytes(), &[key]), GgufProblem::MetadataValue { .. }));
}

#[test]
fn a_header_cut_anywhere_is_refused() {
    let file = one(&[32], 8, 0).with_metadata(metadata("general.architecture", 8, &crate::files::text("flux")));
    let header = file.header();
    for len in 4..header.len() {
        let found = problem(&header[..len], &[]);
        assert!(matches!(found, GgufProblem::HeaderEnds { .. } | GgufProblem::Count { .. }), "{len}: {found}");
    }
}
