//! LoRA files that tests make, tensor by tensor, and what they add to weights.

#![allow(dead_code, reason = "every test program uses a part")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use diffusion_core::weights::{ComponentId, PatchTarget};
use diffusion_lora::{Lora, LoraError, LoraSet};
use safetensors::tensor::{Dtype, TensorView};

/// A LoRA file in the making.
#[derive(Clone, Default)]
pub(crate) struct RawLora {
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    header: HashMap<String, String>,
}

impl RawLora {
    /// A file without tensors.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The file with a tensor of any format.
    pub(crate) fn with(mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Self {
        self.tensors.insert(name.to_owned(), (dtype, shape.to_vec(), bytes.to_vec()));
        self
    }

    /// The file with a tensor of different f32 numbers.
    pub(crate) fn with_numbers(self, name: &str, shape: &[usize]) -> Self {
        let number = |i: usize| ((i * 7 + shape.len()) % 11) as f32 / 8.0 - 0.5;
        let bytes: Vec<u8> = (0..shape.iter().product()).flat_map(|i| number(i).to_le_bytes()).collect();
        self.with(name, Dtype::F32, shape, &bytes)
    }

    /// The file with one f32 number.
    pub(crate) fn with_number(self, name: &str, number: f32) -> Self {
        self.with(name, Dtype::F32, &[], &number.to_le_bytes())
    }

    /// The file with an entry in its header.
    pub(crate) fn with_entry(mut self, name: &str, value: &str) -> Self {
        self.header.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Write it.
    pub(crate) fn write(&self, path: &Path) -> PathBuf {
        let tensors = self.tensors.iter();
        let views: Vec<_> =
            tensors.map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())).collect();
        let header = (!self.header.is_empty()).then(|| self.header.clone());
        safetensors::serialize_to_file(views, header, path).unwrap();
        path.to_owned()
    }

    /// Write it into a folder of its own, and open it.
    pub(crate) fn open(&self) -> Result<Lora, LoraError> {
        let folder = tempfile::tempdir().unwrap();
        // Its bytes are mapped, so that they stay when the folder goes.
        Lora::open(&self.write(&folder.path().join("lora.safetensors")))
    }
}

/// What a set makes of parameters of zeros: what it adds to each of them.
pub(crate) type Added = BTreeMap<(ComponentId, String), Vec<f32>>;

/// What a LoRA adds to the parameters of a model with these networks.
pub(crate) fn added(lora: &Lora, targets: &[PatchTarget]) -> Result<Added, LoraError> {
    let device = Device::flex();
    let (patches, _) = LoraSet::new().with(lora, 1.0).patches(targets, &device)?;
    let shapes = targets.iter().flat_map(|target| {
        let parts = target.names.iter().flat_map(|(_, tensor)| &tensor.parts);
        parts.map(|part| ((target.component, part.parameter.clone()), part.shape.clone()))
    });
    let shapes: BTreeMap<_, _> = shapes.collect();
    let of_parameter = |(component, path): (ComponentId, String)| {
        let shape = &shapes[&(component, path.clone())];
        let rows = shape[0];
        let zeros = Tensor::zeros([rows, shape[1..].iter().product()], &device);
        let patched = patches[&component].get(&path).unwrap().fused(zeros).into_data().try_to_vec().unwrap();
        ((component, path), patched)
    };
    Ok(lora.patched_parameters(targets).into_iter().map(of_parameter).collect())
}

/// Fails unless both LoRAs add the same, up to rounding, and something.
#[track_caller]
pub(crate) fn assert_same(what: &str, found: &Lora, expected: &Lora, targets: &[PatchTarget]) {
    let [found, expected] = [found, expected].map(|lora| added(lora, targets).unwrap_or_else(|error| panic!("{what}: {error}")));
    assert!(!expected.is_empty() && found.keys().eq(expected.keys()), "{what}: {:?}", found.keys());
    for ((parameter, found), expected) in found.iter().zip(expected.values()) {
        assert!(expected.iter().any(|value| value.abs() > 1e-3), "{what}: {parameter:?} is not patched");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{what}: {parameter:?}, {found} {expected}");
        }
    }
}
