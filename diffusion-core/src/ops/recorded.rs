//! Operations on Burn's CPU backend whose gradients are computed by kernels, not by what autodiff knows.
//!
//! An operation computes its result from plain tensors, which has the faster bodies, and says how gradients of its inputs follow
//! from that of its result. Autodiff records it as one step.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::Tensor;
use burn_flex::Flex;

/// Gradients of the inputs from that of the result. Only those that are wanted need be there.
type OfInputs<const N: usize> = dyn Fn(Tensor<2>, [bool; N]) -> [Option<Tensor<2>>; N] + Send + Sync;

/// The result of an operation, and how its gradient becomes those of the inputs.
pub(super) struct Computed<const N: usize> {
    output: Tensor<2>,
    of_inputs: GradientsOf<N>,
}

#[derive(Clone)]
struct GradientsOf<const N: usize>(Arc<OfInputs<N>>);

impl<const N: usize> Debug for GradientsOf<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("GradientsOf")
    }
}

impl<const N: usize> Computed<N> {
    /// A result, and a function that gets its gradient and which inputs want one.
    pub(super) fn new(
        output: Tensor<2>,
        of_inputs: impl Fn(Tensor<2>, [bool; N]) -> [Option<Tensor<2>>; N] + Send + Sync + 'static,
    ) -> Self {
        Self { output, of_inputs: GradientsOf(Arc::new(of_inputs)) }
    }
}

/// The result of an operation, recorded for the backward pass. `None` if autodiff watches none of the inputs, if they are not on
/// Burn's CPU backend, or if `compute` gives none.
pub(super) fn recorded<const N: usize>(
    inputs: [&Tensor<2>; N],
    compute: impl FnOnce([Tensor<2>; N]) -> Option<Computed<N>>,
) -> Option<Tensor<2>> {
    if !inputs.iter().any(|input| input.is_tracked()) {
        return None;
    }
    let mut guards = Vec::with_capacity(N);
    let mut plain = Vec::with_capacity(N);
    for input in inputs {
        let tensor = input.clone().autodiff().try_into_primitive::<Autodiff<Flex, NoCheckpointing>>().ok()?;
        let (tensor, guard) = tensor.into_parts();
        guards.push(guard);
        plain.push(Tensor::<2>::from_primitive::<Flex>(tensor));
    }
    let Computed { output, of_inputs } = compute(plain.try_into().ok()?)?;
    let output = output.try_into_primitive::<Flex>().ok()?;
    let output = match Recorded.prepare::<NoCheckpointing>(guards.try_into().ok()?).compute_bound().stateful() {
        OpsKind::Tracked(operation) => operation.finish(of_inputs, output),
        OpsKind::UnTracked(operation) => operation.finish(output),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, NoCheckpointing>>(output))
}

#[derive(Debug)]
struct Recorded;

impl<const N: usize> Backward<Flex, N> for Recorded {
    type State = GradientsOf<N>;

    fn backward(self, operation: Ops<GradientsOf<N>, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = Tensor::<2>::from_primitive::<Flex>(gradients.consume::<Flex>(&operation.node));
        let wanted = operation.parents.each_ref().map(Option::is_some);
        let of_inputs = (operation.state.0)(gradient, wanted);
        for (parent, gradient) in operation.parents.into_iter().zip(of_inputs) {
            if let Some(parent) = parent {
                let gradient = gradient.expect("the gradient of every input that wants one");
                let gradient = gradient.try_into_primitive::<Flex>().expect("gradients stay on the backend of the result");
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::nn::RmsNormConfig;
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::noise::TorchGenerator;
    use crate::ops::{self, Activation, Attending, AttentionOptions, Epilogue, HeadNorm, Rotations};

    const BATCH: usize = 2;
    const LEN: usize = 7;
    const HEADS: usize = 3;
    const HEAD_DIM: usize = 8;
    const WIDTH: usize = HEADS * HEAD_DIM;

    fn random<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
        let values = TorchGenerator::new(seed).normal(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    type Operation<'a> = Box<dyn Fn([Tensor<3>; 3]) -> Tensor<3> + 'a>;

    /// The result of an operation on three tensors, and gradients of these.
    fn run(device: &Device, operation: &dyn Fn([Tensor<3>; 3]) -> Tensor<3>) -> [Vec<f32>; 4] {
        let leaves = [1, 2, 3].map(|seed| random(seed, [BATCH, LEN, WIDTH], device).autodiff().require_grad());
        let output = operation(leaves.clone());
        let weights = random(4, output.dims(), device).autodiff();
        let gradients = (output.clone() * weights).sum().backward();
        let [a, b, c] = leaves.map(|leaf| leaf.grad(&gradients).map_or_else(Vec::new, |x| x.into_data().iter().collect()));
        [output.into_data().iter().collect(), a, b, c]
    }

    /// Every operation that has a recorded body. Where Burn recomputes activations there is none: the general way.
    #[test]
    fn results_and_gradients_are_those_of_the_general_way() {
        let plain = Device::flex();
        let rows = [BATCH * LEN, WIDTH];
        let [shift, scale, gate] = [5, 6, 7].map(|seed| random::<2>(seed, [BATCH, WIDTH], &plain));
        let mut norm = RmsNormConfig::new(HEAD_DIM).with_epsilon(1e-6).init(&plain);
        norm.gamma = Param::from_tensor(random(8, [HEAD_DIM], &plain));
        let positions: Vec<[usize; 1]> = (0..LEN).map(|position| [3 * position + 1]).collect();
        let rotations = Rotations::new(&positions, &[HEAD_DIM], 100.0, &plain);
        let apply = |epilogue: Epilogue<'_>, x: Tensor<3>| epilogue.apply(x.reshape(rows)).reshape([BATCH, LEN, WIDTH]);
        let attend = |[query, key, value]: [Tensor<3>; 3], causal| {
            let options = AttentionOptions { causal, ..AttentionOptions::default() };
            let [attended] = ops::attention([Attending { query, key, value }], HEADS, &options);
            attended
        };
        let attend_to_both = |[a, b, c]: [Tensor<3>; 3]| {
            let second = Attending { query: b.clone(), key: c.clone(), value: a.clone() };
            let first = Attending { query: a, key: b, value: c };
            Tensor::cat(ops::attention([first, second], HEADS, &AttentionOptions::default()).to_vec(), 1)
        };
        let operations: Vec<(&str, Operation<'_>)> = vec![
            ("tanh GELU", Box::new(|[x, ..]| Activation::GeluTanh.apply(x))),
            ("quick GELU", Box::new(|[x, ..]| Activation::GeluQuick.apply(x))),
            ("SiLU", Box::new(|[x, ..]| Activation::Silu.apply(x))),
            ("modulated norm", Box::new(|[x, ..]| ops::modulated_norm(x, &shift, &scale, 1e-6))),
            ("gated sum", Box::new(|[x, y, _]| apply(Epilogue::Residual { residual: &y, gate: Some(&gate) }, x))),
            ("sum", Box::new(|[x, y, _]| apply(Epilogue::Residual { residual: &y, gate: None }, x))),
            ("heads", Box::new(|[x, ..]| apply(Epilogue::Heads(HeadNorm { norm: &norm, rotations: None }), x))),
            (
                "turned heads",
                Box::new(|[x, ..]| apply(Epilogue::Heads(HeadNorm { norm: &norm, rotations: Some(&rotations) }), x)),
            ),
            ("attention", Box::new(|all| attend(all, false))),
            ("causal attention", Box::new(|all| attend(all, true))),
            ("attention to both", Box::new(attend_to_both)),
        ];
        for (name, operation) in operations {
            let found = run(&plain, &*operation);
            let expected = run(&Device::flex().autodiff().gradient_checkpointing(), &*operation);
            for (what, (found, expected)) in ["result", "first", "second", "third"].iter().zip(found.iter().zip(&expected)) {
                assert_eq!(found.len(), expected.len(), "{name}, {what}");
                let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
                let error = found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(error <= 3e-6 * largest, "{name}, {what}: {error} of {largest}");
            }
        }
    }

    #[test]
    fn what_nobody_watches_is_not_recorded() {
        let x = random(1, [3, 4], &Device::flex());
        assert!(recorded([&x], |[x]| Some(Computed::new(x, |gradient, _| [Some(gradient)]))).is_none());
    }
}
