//! Filling a module's parameters from a checkpoint, strictly.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId, Reparameterizer};
use burn::tensor::{FloatDType, Tensor};

use super::Checkpoint;
use super::error::{CheckpointError, Mismatch};
use super::format::Format;
use super::stored_tensor::StoredTensor;
use crate::packed_weight::PackedWeight;
use crate::precision::{Precision, Storage};

/// Paths and shapes of all float parameters of a module, in published terms: Burn's `gamma` and `beta` of norms are
/// `weight` and `bias` here. Allocates nothing.
pub fn parameter_shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    #[derive(Default)]
    struct Shapes {
        path: Vec<String>,
        found: BTreeMap<String, Vec<usize>>,
    }
    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.insert(published_path(&self.path.join(".")), param.lazy_shape().to_vec());
        }
    }
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.found
}

fn published_path(path: &str) -> String {
    if let Some(norm) = path.strip_suffix(".gamma") {
        format!("{norm}.weight")
    } else if let Some(norm) = path.strip_suffix(".beta") {
        format!("{norm}.bias")
    } else {
        path.to_owned()
    }
}

/// The tensors for a module's parameters: all of them, none besides, in the right shapes and types.
pub(super) fn fitted<M: Module>(checkpoint: Checkpoint, module: &M) -> Result<BTreeMap<String, StoredTensor>, CheckpointError> {
    let Checkpoint { path, model, mut tensors } = checkpoint;
    let expected = parameter_shapes(module);
    let unused = tensors.iter().filter(|(name, _)| !expected.contains_key(*name));
    let mismatch = Mismatch {
        missing: expected.keys().filter(|name| !tensors.contains_key(*name)).cloned().collect(),
        unused: unused.map(|(_, tensor)| tensor.name().to_owned()).collect(),
    };
    if mismatch != Mismatch::default() {
        return Err(CheckpointError::Mismatch { path, model, mismatch });
    }
    for (name, tensor) in &mut tensors {
        let shape = &expected[name];
        *tensor = tensor.clone().fit_unit_dimensions(shape);
        let (path, name) = (tensor.path().to_owned(), tensor.name().to_owned());
        if tensor.shape() != shape {
            let (expected, found) = (shape.clone(), tensor.shape().to_vec());
            return Err(CheckpointError::Shape { path, model, tensor: name, expected, found });
        }
        if !tensor.format().is_float() {
            let (expected, found) = ("a floating-point format", tensor.format().to_string());
            return Err(CheckpointError::DType { path, tensor: name, expected, found });
        }
    }
    Ok(tensors)
}

/// See [`Checkpoint::load_into`].
pub(super) fn load_into<M: Module>(checkpoint: Checkpoint, module: M, precision: Precision) -> Result<M, CheckpointError> {
    load_into_except(checkpoint, module, precision, |_| false)
}

/// See [`Checkpoint::load_into_except`].
pub(super) fn load_into_except<M: Module>(
    checkpoint: Checkpoint,
    module: M,
    precision: Precision,
    skip: impl Fn(&str) -> bool,
) -> Result<M, CheckpointError> {
    let mut tensors = fitted(checkpoint, &module)?;
    tensors.retain(|name, _| !skip(name));
    let mut failure = None;
    let module = module.apply_reparameterization(Loader { tensors, precision, failure: &mut failure });
    match failure {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

/// Replaces every parameter; a `Reparameterizer`, because packed weights are attached beside their parameter.
struct Loader<'a> {
    tensors: BTreeMap<String, StoredTensor>,
    precision: Precision,
    failure: &'a mut Option<CheckpointError>,
}

impl Loader<'_> {
    /// The type to convert a tensor of `D` dimensions to. Matrices and tables are widened where they are used;
    /// vectors and convolution kernels are used by layers that do not widen. A tensor that cannot stay packed is widened
    /// while it is loaded: one of three dimensions, a transposed one, or one on a device that has no bytes.
    fn converted<const D: usize>(&self, format: Format) -> Option<FloatDType> {
        match (D, self.precision.storage) {
            (2 | 3, Storage::AsPublished) if !format.is_packed() => None,
            (2 | 3, Storage::Converted(dtype)) => Some(dtype),
            _ => Some(self.precision.compute),
        }
    }
}

impl Reparameterizer for Loader<'_> {
    type Reparam = PackedWeight;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<PackedWeight>) {
        let Some(tensor) = self.tensors.remove(&published_path(path)) else { return (param, None) };
        let device = param.lazy_device();
        if D == 2
            && self.precision.storage == Storage::AsPublished
            && let Some(packed) = tensor.load_packed(&device)
        {
            return (param, Some(packed));
        }
        match tensor.load(&device, self.converted::<D>(tensor.format())) {
            Ok(loaded) => (Param::initialized(ParamId::new(), loaded), None),
            Err(error) => {
                self.failure.get_or_insert(error);
                (param, None)
            }
        }
    }
}
