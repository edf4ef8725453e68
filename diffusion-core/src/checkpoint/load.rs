//! Filling a module's parameters from a checkpoint, strictly.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId, Reparameterizer};
use burn::tensor::{FloatDType, Tensor};

use super::Checkpoint;
use super::error::{CheckpointError, Mismatch};
use super::format::Format;
use super::stored_tensor::StoredTensor;
use crate::attached_weight::AttachedWeight;
use crate::ops;
use crate::precision::{Precision, Storage};
use crate::projection::stand_in;
use crate::weight_change::WeightChange;

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

pub(crate) fn published_path(path: &str) -> String {
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

/// The type to convert a parameter of `D` dimensions to. Matrices and tables are widened where they are used; vectors and
/// convolution kernels are used by layers that do not widen. A tensor that cannot stay packed is widened while it is
/// loaded: one of three dimensions, a transposed one, or one on a device that has no bytes.
fn converted<const D: usize>(precision: Precision, format: Format) -> Option<FloatDType> {
    match (D, precision.storage) {
        (2 | 3, Storage::AsPublished) if !format.is_packed() => None,
        (2 | 3, Storage::Converted(dtype)) => Some(dtype),
        _ => Some(precision.compute),
    }
}

/// Replaces every parameter; a `Reparameterizer`, because packed weights are attached beside their parameter.
struct Loader<'a> {
    tensors: BTreeMap<String, StoredTensor>,
    precision: Precision,
    failure: &'a mut Option<CheckpointError>,
}

impl Reparameterizer for Loader<'_> {
    type Reparam = AttachedWeight;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<AttachedWeight>) {
        let device = param.lazy_device();
        let Some(tensor) = self.tensors.remove(&published_path(path)) else { return (stand_in(&device), None) };
        if D == 2
            && self.precision.storage == Storage::AsPublished
            && let Some(packed) = tensor.load_packed(&device)
        {
            return (stand_in(&device), Some(AttachedWeight::new(Some(packed))));
        }
        match tensor.load(&device, converted::<D>(self.precision, tensor.format())) {
            Ok(loaded) => (Param::initialized(ParamId::new(), loaded), (D == 2).then(|| AttachedWeight::new(None))),
            Err(error) => {
                self.failure.get_or_insert(error);
                (param, None)
            }
        }
    }
}

/// See [`Checkpoint::reload`].
pub(super) fn reload<M: Module>(
    checkpoint: &Checkpoint,
    module: M,
    precision: Precision,
    mut parameters: BTreeMap<String, Option<Arc<dyn WeightChange>>>,
) -> Result<M, CheckpointError> {
    if parameters.is_empty() {
        return Ok(module);
    }
    let mut failure = None;
    let mut reloader = Reloader { path: Vec::new(), checkpoint, precision, parameters: &mut parameters, failure: &mut failure };
    let module = module.map(&mut reloader);
    debug_assert!(failure.is_some() || parameters.is_empty(), "changes of parameters that are not there: {parameters:?}");
    match failure {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

/// Replaces the parameters at some paths by what the file says, changed or not.
struct Reloader<'a> {
    path: Vec<String>,
    checkpoint: &'a Checkpoint,
    precision: Precision,
    parameters: &'a mut BTreeMap<String, Option<Arc<dyn WeightChange>>>,
    failure: &'a mut Option<CheckpointError>,
}

impl ModuleMapper for Reloader<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = published_path(&self.path.join("."));
        let Some(change) = self.parameters.remove(&path) else { return param };
        let Some(stored) = self.checkpoint.get(&path) else { return param };
        let (id, device, shape) = (param.id, param.lazy_device(), param.lazy_shape().to_vec());
        // Gives back the memory of a merged weight before the next one is made.
        drop(param);
        let stored = stored.clone().fit_unit_dimensions(&shape);
        match stored.load::<D>(&device, converted::<D>(self.precision, stored.format())) {
            Ok(loaded) => Param::initialized(id, merge(loaded, change.as_deref())),
            Err(error) => {
                self.failure.get_or_insert(error);
                Param::initialized(id, Tensor::zeros(shape, &device))
            }
        }
    }
}

/// The changed parameter, in the type that it is stored in.
fn merge<const D: usize>(stored: Tensor<D>, change: Option<&dyn WeightChange>) -> Tensor<D> {
    let Some(change) = change else { return stored };
    let dims = stored.dims();
    let columns: usize = dims[1..].iter().product();
    let dtype: FloatDType = stored.dtype().into();
    let matrix = stored.reshape([dims[0], columns]);
    let merged = match change.low_rank() {
        Some(low_rank) => ops::add_low_rank(matrix, low_rank),
        None => ops::cast(change.merged(ops::cast(matrix, FloatDType::F32)), dtype),
    };
    // A change may widen a matrix; of other parameters it keeps the shape.
    let mut shape = dims;
    if D == 2 {
        shape[1] = merged.dims()[1];
    }
    merged.reshape(shape)
}
