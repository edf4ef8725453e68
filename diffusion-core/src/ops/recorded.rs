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
