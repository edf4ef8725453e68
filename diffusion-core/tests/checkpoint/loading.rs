//! Parameters filled from files.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Distribution, FloatDType, Int, Tensor, TensorData};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError, KeyMap};
use diffusion_core::format::Format;
use diffusion_core::weights::{
    AttachedWeight, Loading, PackedWeight, Precision, Projection, ProjectionConfig, Storage, TokenEmbedding, load_into,
    uninitialized,
};

use crate::files::{GgufFile, GgufTensor, assert_names, data, f32_bytes, metadata, open, safetensors, values};

fn load<M: Module>(checkpoint: Checkpoint, module: M, precision: Precision) -> Result<M, CheckpointError> {
    load_into(checkpoint, module, &Loading::new(precision, &Device::flex()))
}

fn host(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// A GGUF file of one matrix: the generator's blocks of `format`, ten rows of one block each.
fn one_matrix(name: &str, format: Format, number: u32) -> Checkpoint {
    let fixture = Checkpoint::open(&data("blocks.safetensors")).unwrap();
    let bytes = fixture.get(&format!("{format}.bytes")).unwrap().bytes();
    let mut file = GgufFile::new(vec![GgufTensor::new(name, &[format.block().elements as u64, 10], number, 0)], 0);
    file.data = bytes.to_vec();
    open(&file.bytes()).unwrap()
}

const BLOCK_FORMATS: [(Format, u32); 11] = [
    (Format::Q4_0, 2),
    (Format::Q4_1, 3),
    (Format::Q5_0, 6),
    (Format::Q5_1, 7),
    (Format::Q8_0, 8),
    (Format::Q2K, 10),
    (Format::Q3K, 11),
    (Format::Q4K, 12),
    (Format::Q5K, 13),
    (Format::Q6K, 14),
    (Format::IQ4NL, 20),
];

#[test]
fn matrices_of_blocks_stay_packed_and_multiply_as_if_widened() {
    let device = Device::flex();
    for (format, number) in BLOCK_FORMATS {
        let checkpoint = one_matrix("weight", format, number);
        let columns = format.block().elements;
        let weight = Tensor::<2>::from_data(TensorData::new(values(&checkpoint, "weight"), [10, columns]), &device);
        let module = ProjectionConfig::without_bias(columns, 10).init(&device);
        let module = load(checkpoint, module, Precision::f32()).unwrap();
        assert!(packed(&module.weight).is_some(), "{format}");
        let input = Tensor::<2>::random([3, columns], Distribution::Default, &device);
        let widened = Projection { weight: Param::from_tensor(weight), bias: None, is_exact: false };
        assert_eq!(host(module.forward(input.clone())), host(widened.forward(input)), "{format}");
    }
}

#[test]
fn rows_of_packed_tables_are_looked_up() {
    let device = Device::flex();
    for (format, number) in BLOCK_FORMATS {
        let checkpoint = one_matrix("weight", format, number);
        let (columns, table) = (format.block().elements, values(&checkpoint, "weight"));
        let module = load(checkpoint, TokenEmbedding::new(10, columns, &device), Precision::f32()).unwrap();
        let ids = Tensor::<2, Int>::from_data(TensorData::from([[7i32, 0, 9], [9, 9, 3]]), &device);
        let found: Vec<f32> = module.forward(ids, FloatDType::F32).into_data().try_into_vec().unwrap();
        let expected: Vec<f32> =
            [7, 0, 9, 9, 9, 3].iter().flat_map(|row| table[row * columns..(row + 1) * columns].to_vec()).collect();
        assert_eq!(found, expected, "{format}");
    }
}

#[test]
fn a_fused_matrix_is_cut_between_blocks_without_copying() {
    let checkpoint = one_matrix("qkv.weight", Format::Q4K, 12);
    let (whole, bytes) = (values(&checkpoint, "qkv.weight"), checkpoint.get("qkv.weight").unwrap().bytes());
    let keys = KeyMap::new().split("qkv", [("q", 3), ("k", 3), ("v", 4)]);
    let parts = checkpoint.renamed(&keys).unwrap();
    for (name, rows) in [("q.weight", 0..3), ("k.weight", 3..6), ("v.weight", 6..10)] {
        assert_eq!(values(&parts, name), whole[rows.start * 256..rows.end * 256], "{name}");
        let part = parts.get(name).unwrap().bytes();
        assert_eq!(part.as_ptr(), bytes[rows.start * 144..].as_ptr(), "{name}");
    }
}

#[test]
fn rows_that_end_inside_a_block_cannot_be_cut() {
    let shape = [5u32.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec(), [8i32, 36].map(i32::to_le_bytes).concat()].concat();
    let file = GgufFile::new(vec![GgufTensor::new("qkv", &[32, 9], 8, 0)], 9 * 34);
    let checkpoint = open(&file.with_metadata(metadata("comfy.gguf.orig_shape.qkv", 9, &shape)).bytes()).unwrap();
    let error = checkpoint.renamed(&KeyMap::new().split("qkv", [("q", 4), ("k", 4)])).unwrap_err();
    assert!(matches!(error, CheckpointError::DType { .. }));
    assert_names(&error, "broken.file", &["qkv", "Q8_0"]);
}

#[test]
fn swapped_halves_stay_packed_and_a_transposed_matrix_is_widened() {
    let device = Device::flex();
    let load = |keys: KeyMap, [rows, columns]: [usize; 2]| {
        let checkpoint = one_matrix("a.weight", Format::Q8_0, 8).renamed(&keys).unwrap();
        let expected = values(&checkpoint, "weight");
        let module = ProjectionConfig::without_bias(columns, rows).init(&device);
        (load(checkpoint, module, Precision::f32()).unwrap(), expected)
    };
    let (swapped, expected) = load(KeyMap::new().swap_halves("a.weight", "weight"), [10, 32]);
    let packed_weight = packed(&swapped.weight).unwrap();
    assert_eq!(host(packed_weight.unpack(FloatDType::F32)), expected);
    let (transposed, expected) = load(KeyMap::new().transpose("a.weight", "weight"), [32, 10]);
    assert!(packed(&transposed.weight).is_none());
    assert_eq!(host(transposed.weight.val()), expected);
}

#[test]
fn storage_may_be_another_type_than_the_published_one() {
    let device = Device::flex();
    let precision = Precision { storage: Storage::Converted(FloatDType::F16), ..Precision::f32() };
    let checkpoint = one_matrix("weight", Format::Q8_0, 8);
    let module = load(checkpoint, ProjectionConfig::without_bias(32, 10).init(&device), precision).unwrap();
    assert!(packed(&module.weight).is_none());
    assert_eq!(module.weight.val().dtype(), DType::F16);
}

/// What layers use that do not widen.
#[derive(Module, Debug)]
struct Others {
    vector: Param<Tensor<1>>,
    table: Param<Tensor<3>>,
    kernel: Param<Tensor<4>>,
}

#[test]
fn tensors_of_other_ranks_are_widened_to_the_compute_type() {
    let device = Device::flex();
    let tensors = vec![
        GgufTensor::new("vector", &[32], 8, 0),
        GgufTensor::new("table", &[32, 2, 1], 8, 64),
        GgufTensor::new("kernel", &[32, 1, 2, 2], 2, 160),
    ];
    let mut file = GgufFile::new(tensors, 256);
    file.data.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i % 61) as u8);
    let checkpoint = open(&file.bytes()).unwrap();
    for compute in [FloatDType::F32, FloatDType::F16] {
        let others = Others {
            vector: uninitialized([32], &device),
            table: uninitialized([1, 2, 32], &device),
            kernel: uninitialized([2, 2, 1, 32], &device),
        };
        let others = load(checkpoint.clone(), others, Precision::computing_in(compute)).unwrap();
        let dtypes = [others.vector.val().dtype(), others.table.val().dtype(), others.kernel.val().dtype()];
        assert_eq!(dtypes, [DType::from(compute); 3]);
        if compute == FloatDType::F32 {
            let table: Vec<f32> = others.table.val().into_data().try_into_vec().unwrap();
            assert_eq!(table, values(&checkpoint, "table"));
        }
    }
}

#[test]
fn fp8_matrices_stay_packed_with_their_scale() {
    let device = Device::flex();
    let (codes, scale) = ([0x38, 0xb8, 0x7e, 0x01], f32_bytes(&[0.5]));
    let file = safetensors(&[("weight", "F8_E4M3", &[2, 2], &codes), ("weight_scale", "F32", &[], &scale)]);
    // The name has no layer before `.weight`, so that no scale belongs to it.
    assert!(open(&file).unwrap().get("weight_scale").is_some());
    let file = safetensors(&[("a.weight", "F8_E4M3", &[2, 2], &codes), ("a.scale_weight", "F32", &[], &scale)]);
    let checkpoint = open(&file).unwrap().under("a.");
    let module = load(checkpoint, ProjectionConfig::without_bias(2, 2).init(&device), Precision::f32()).unwrap();
    let packed_weight = packed(&module.weight).unwrap();
    assert_eq!(host(packed_weight.unpack(FloatDType::F32)), [0.5, -0.5, 224.0, 2f32.powi(-10)]);
}

#[test]
fn data_at_an_odd_place_of_a_file_loads_right() {
    let device = Device::flex();
    let (numbers, folder) = ([1.5f32, -2.0, 3.25, 1e-3], tempfile::tempdir().unwrap());
    let halves: Vec<u8> = numbers.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    // Names of every length put the data at every place.
    for len in 1..9 {
        let name = "n".repeat(len) + ".weight";
        for (dtype, bytes, tolerance) in [("F32", f32_bytes(&numbers), 0.0), ("F16", halves.clone(), 1e-6)] {
            let path = folder.path().join("odd.safetensors");
            std::fs::write(&path, safetensors(&[(&name, dtype, &[2, 2], &bytes)])).unwrap();
            let checkpoint = Checkpoint::open(&path).unwrap().under(&name.replace("weight", ""));
            let module = ProjectionConfig::without_bias(2, 2).init(&device);
            let module = load(checkpoint, module, Precision::f32()).unwrap();
            let identity = Tensor::<2>::eye(2, &device);
            let found = host(module.forward(identity).transpose());
            assert!(found.iter().zip(&numbers).all(|(a, b)| (a - b).abs() <= tolerance), "{dtype} {len}: {found:?}");
        }
    }
}

#[test]
fn a_shape_that_does_not_fit_names_the_tensor_in_the_file() {
    let checkpoint = one_matrix("enc.blk.0.attn_q.weight", Format::Q8_0, 8);
    let checkpoint = checkpoint.under("enc.blk.0.attn_q.").named("a T5 encoder");
    let module = ProjectionConfig::without_bias(64, 10).init(&Device::flex());
    let error = load(checkpoint, module, Precision::f32()).unwrap_err();
    assert!(matches!(error, CheckpointError::Shape { .. }));
    assert_names(&error, "broken.file", &["enc.blk.0.attn_q.weight", "[10, 32]", "[10, 64]", "T5"]);
}

/// What is kept packed beside a parameter.
fn packed(weight: &Param<Tensor<2>>) -> Option<&PackedWeight> {
    weight.reparameterization::<AttachedWeight>()?.packed.as_ref()
}
