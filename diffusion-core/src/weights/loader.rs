//! Filling a module's parameters from a checkpoint, strictly.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param, ParamId, Reparameterizer};
use burn::tensor::{Device, FloatDType, Tensor};

use super::attached_weight::AttachedWeight;
use super::loading::Loading;
use super::parameter::{parameter_shapes, published_path, stand_in};
use super::precision::{Precision, Storage};
use super::stored_weight::{is_native, load, load_packed};
use super::weight_patch::WeightPatch;
use crate::checkpoint::{Checkpoint, CheckpointError, Mismatch, StoredTensor};
use crate::format::Format;
use crate::ops;

/// Hears of the bytes done and of all bytes, and may cancel.
pub(super) type OnProgress<'a> = &'a dyn Fn(usize, usize) -> ControlFlow<()>;

/// Whether [`load_into`] can fill `module`: names, shapes and formats, without reading a weight.
///
/// # Errors
/// As [`load_into`].
pub fn check<M: Module>(checkpoint: &Checkpoint, module: &M) -> Result<(), CheckpointError> {
    fitted(checkpoint.clone(), module).map(drop)
}

/// Fill all parameters of `module`, on the device that they were made for.
///
/// # Errors
/// [`CheckpointError`] when a parameter is missing, a tensor unused, a shape or format different, the file was written to since
/// it was opened, or the loading was cancelled. The module is used up; nothing half-loaded remains.
pub fn load_into<M: Module>(checkpoint: Checkpoint, module: M, loading: &Loading<'_>) -> Result<M, CheckpointError> {
    let on_progress = |done, total| loading.report(done, total);
    fill(&fitted(checkpoint, &module)?, module, loading.precision, &on_progress, |_| false)
}

/// The checkpoint as a module needs it: all of its parameters, none besides, in their shapes and in formats of floats.
pub(super) fn fitted<M: Module>(mut checkpoint: Checkpoint, module: &M) -> Result<Checkpoint, CheckpointError> {
    let (path, model) = (checkpoint.path().to_owned(), checkpoint.model().to_owned());
    let tensors = checkpoint.tensors_mut();
    let expected = parameter_shapes(module);
    let unused = tensors.iter().filter(|(name, _)| !expected.contains_key(*name));
    let mismatch = Mismatch {
        missing: expected.keys().filter(|name| !tensors.contains_key(*name)).cloned().collect(),
        unused: unused.map(|(_, tensor)| tensor.name().to_owned()).collect(),
    };
    if mismatch != Mismatch::default() {
        return Err(CheckpointError::Mismatch { path, model, mismatch });
    }
    for (name, tensor) in tensors.iter_mut() {
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
    Ok(checkpoint)
}

/// Fill the parameters of `module` from a [`fitted`] checkpoint; those whose names `skip` holds for become stand-ins.
pub(super) fn fill<M: Module>(
    checkpoint: &Checkpoint,
    module: M,
    precision: Precision,
    on_progress: OnProgress<'_>,
    skip: impl Fn(&str) -> bool,
) -> Result<M, CheckpointError> {
    let wanted = checkpoint.tensors().filter(|(name, _)| !skip(name));
    let tensors: BTreeMap<String, StoredTensor> = wanted.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    let total = tensors.values().map(StoredTensor::num_bytes).sum();
    let mut failure = None;
    let path = checkpoint.path().to_owned();
    let loader = Loader { path: path.clone(), tensors, precision, on_progress, done: 0, total, failure: &mut failure };
    let module = module.apply_reparameterization(loader);
    match failure {
        Some(error) => Err(error),
        None if on_progress(total, total).is_break() => Err(CheckpointError::Cancelled { path }),
        None => Ok(module),
    }
}

/// The type to convert a parameter of `D` dimensions to. Matrices and tables are widened where they are used; vectors and
/// convolution kernels are used by layers that do not widen. A tensor that cannot stay packed is widened while it is
/// loaded: one of three dimensions, a transposed one, or one on a device that has no bytes. So is one whose type the device has not.
fn converted<const D: usize>(precision: Precision, format: Format, device: &Device) -> Option<FloatDType> {
    match (D, precision.storage) {
        (2 | 3, Storage::AsPublished) if is_native(format, device) => None,
        (2 | 3, Storage::Converted(dtype)) => Some(dtype),
        _ => Some(precision.compute),
    }
}

/// Replaces every parameter; a `Reparameterizer`, because packed weights are attached beside their parameter.
struct Loader<'a> {
    path: PathBuf,
    tensors: BTreeMap<String, StoredTensor>,
    precision: Precision,
    on_progress: OnProgress<'a>,
    done: usize,
    total: usize,
    failure: &'a mut Option<CheckpointError>,
}

impl Loader<'_> {
    /// The parameter with the values of `tensor`, and what is attached to it.
    fn load<const D: usize>(
        &mut self,
        device: &Device,
        tensor: &StoredTensor,
    ) -> Result<(Param<Tensor<D>>, Option<AttachedWeight>), CheckpointError> {
        if (self.on_progress)(self.done, self.total).is_break() {
            return Err(CheckpointError::Cancelled { path: self.path.clone() });
        }
        self.done += tensor.num_bytes();
        let precision = self.precision;
        if D == 2
            && precision.storage == Storage::AsPublished
            && let Some(packed) = load_packed(tensor, precision.compute, device)?
        {
            return Ok((stand_in(device), Some(AttachedWeight::new(Some(packed), precision.products))));
        }
        let loaded = load(tensor, device, converted::<D>(precision, tensor.format(), device))?;
        Ok((Param::initialized(ParamId::new(), loaded), (D == 2).then(|| AttachedWeight::new(None, precision.products))))
    }
}

impl Reparameterizer for Loader<'_> {
    type Reparam = AttachedWeight;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<AttachedWeight>) {
        if self.failure.is_some() {
            return (param, None);
        }
        let Some(tensor) = self.tensors.remove(&published_path(path)) else { return (stand_in(&param.lazy_device()), None) };
        match self.load(&param.lazy_device(), &tensor) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.failure.get_or_insert(error);
                (param, None)
            }
        }
    }
}

/// Load some parameters of `module` once more, each fused with a patch if there is one for it.
pub(super) fn reload<M: Module>(
    checkpoint: &Checkpoint,
    module: M,
    precision: Precision,
    mut parameters: BTreeMap<String, Option<Arc<dyn WeightPatch>>>,
) -> Result<M, CheckpointError> {
    if parameters.is_empty() {
        return Ok(module);
    }
    let mut failure = None;
    let mut reloader = Reloader { path: Vec::new(), checkpoint, precision, parameters: &mut parameters, failure: &mut failure };
    let module = module.map(&mut reloader);
    debug_assert!(failure.is_some() || parameters.is_empty(), "patches of parameters that are not there: {parameters:?}");
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
    parameters: &'a mut BTreeMap<String, Option<Arc<dyn WeightPatch>>>,
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
        let Some(patch) = self.parameters.remove(&path) else { return param };
        let Some(stored) = self.checkpoint.get(&path) else { return param };
        let (id, device, shape) = (param.id, param.lazy_device(), param.lazy_shape().to_vec());
        // Gives back the memory of a fused weight before the next one is made.
        drop(param);
        let stored = stored.clone().fit_unit_dimensions(&shape);
        match load::<D>(&stored, &device, converted::<D>(self.precision, stored.format(), &device)) {
            Ok(loaded) => Param::initialized(id, fuse(loaded, patch.as_deref())),
            Err(error) => {
                self.failure.get_or_insert(error);
                Param::initialized(id, Tensor::zeros(shape, &device))
            }
        }
    }
}

/// The patched parameter, in the type that it is stored in.
fn fuse<const D: usize>(stored: Tensor<D>, patch: Option<&dyn WeightPatch>) -> Tensor<D> {
    let Some(patch) = patch else { return stored };
    let dims = stored.dims();
    let columns: usize = dims[1..].iter().product();
    let dtype: FloatDType = stored.dtype().into();
    let matrix = stored.reshape([dims[0], columns]);
    let fused = match patch.low_rank() {
        Some(low_rank) => low_rank.fused_with(matrix),
        None => ops::cast(patch.fused(ops::cast(matrix, FloatDType::F32)), dtype),
    };
    // A patch may widen a matrix; of other parameters it keeps the shape.
    let mut shape = dims;
    if D == 2 {
        shape[1] = fused.dims()[1];
    }
    fused.reshape(shape)
}
