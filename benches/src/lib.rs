//! What the benchmarks share: modules at published widths, filled with random weights.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Distribution, Tensor};

/// Standard deviation of the weights, that of the initialisation of published models.
const STD: f64 = 0.02;

/// The module with every parameter drawn from a normal distribution. Zeros would be kinder to caches and branches than
/// weights are.
pub fn with_random_weights<M: Module>(module: M) -> M {
    struct Randomize;
    impl ModuleMapper for Randomize {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (shape, device) = (param.lazy_shape(), param.lazy_device());
            let values = Tensor::random(shape, Distribution::Normal(0.0, STD), (&device, DType::F32));
            Param::initialized(param.id, values)
        }
    }
    module.map(&mut Randomize)
}
