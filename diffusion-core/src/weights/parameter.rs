//! Parameters that are not loaded yet, and the names of those of a module.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor};

/// A parameter that allocates nothing until it is loaded. If it is used before, it is a single zero that is read again and
/// again.
pub fn uninitialized<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    let zeros = move |device: &Device, _| Tensor::<D>::zeros([1; D], device).expand(shape);
    Param::uninitialized(ParamId::new(), zeros, device.clone(), false, shape.into())
}

/// A parameter whose values are elsewhere: packed beside it, or still in their file. It is a single zero, whatever Burn does
/// with it: the record of a module copies the values of every parameter.
pub(super) fn stand_in<const D: usize>(device: &Device) -> Param<Tensor<D>> {
    uninitialized([1; D], device)
}

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

/// The path of a parameter with the names that files have for those of norms.
pub(super) fn published_path(path: &str) -> String {
    if let Some(norm) = path.strip_suffix(".gamma") {
        format!("{norm}.weight")
    } else if let Some(norm) = path.strip_suffix(".beta") {
        format!("{norm}.bias")
    } else {
        path.to_owned()
    }
}
