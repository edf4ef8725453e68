//! The same network without anything that the tests are about: Burn's own product of f32 matrices, and Burn's own gradients.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use diffusion_core::weights::LowRankFactors;

/// The network with `W + scale · up · down` for every matrix that has factors. All matrices ask for gradients, so that no
/// product takes them for frozen.
pub(crate) fn with_products<M: Module>(network: M, factors: &BTreeMap<String, LowRankFactors>) -> M {
    let mut summer = Summer { path: Vec::new(), factors, summed: 0 };
    let network = network.map(&mut summer);
    assert_eq!(summer.summed, factors.len());
    network
}

struct Summer<'a> {
    path: Vec<String>,
    factors: &'a BTreeMap<String, LowRankFactors>,
    summed: usize,
}

impl ModuleMapper for Summer<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D != 2 {
            return param;
        }
        let weight = param.base().require_grad();
        let Some(factors) = self.factors.get(&self.path.join(".")) else { return Param::initialized(param.id, weight) };
        self.summed += 1;
        let product = factors.up.val().matmul(factors.down.val()).mul_scalar(factors.scale);
        let shape = weight.dims();
        Param::initialized(param.id, weight + product.reshape(shape))
    }
}
