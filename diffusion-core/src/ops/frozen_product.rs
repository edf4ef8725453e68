//! The product with a weight that is not trained.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use burn::tensor::{FloatDType, Tensor};

/// `input Wᵀ`, where `weight` gives `W`, `[output_size, input_size]`, in the type of `input` whenever it is called.
///
/// Gradients reach the input and stop at the weight. For the backward pass nothing is kept but `weight` itself: not the input,
/// which only a gradient of `W` would need, and not the widened `W`, which `weight` makes once more for `gradient · W`. So a
/// matrix that is stored in half precision, or packed, is never widened beside another one.
///
/// This takes the feature `autodiff`, and a backend that is known here: Burn's CPU backend with the feature `flex`, others after
/// `widen_again_on`. Elsewhere autodiff records an ordinary product: gradients are the same, and the widened `W` lives
/// until the backward pass.
///
/// # Shapes
/// - input: `[len, input_size]`, result: `[len, output_size]`
pub fn frozen_product(input: Tensor<2>, weight: impl Fn(FloatDType) -> Tensor<2> + Send + Sync + 'static) -> Tensor<2> {
    let weight = FrozenWeight(Arc::new(weight));
    #[cfg(feature = "autodiff")]
    if let Some(output) = tracked::product(&input, &weight) {
        return output;
    }
    let weight = weight.widened(input.dtype().into());
    input.matmul(weight.transpose())
}

/// Whether gradients may be asked of a matrix, so that it is not frozen. Without the feature `autodiff` only the device tells.
pub(crate) fn is_differentiated(matrix: &Tensor<2>) -> bool {
    #[cfg(feature = "autodiff")]
    return matrix.is_tracked();
    #[cfg(not(feature = "autodiff"))]
    return matrix.is_autodiff();
}

/// A matrix that is made whenever it is needed.
#[derive(Clone)]
struct FrozenWeight(Arc<dyn Fn(FloatDType) -> Tensor<2> + Send + Sync>);

impl FrozenWeight {
    /// The matrix, which autodiff knows nothing of. The faster bodies of operations see only such tensors.
    fn widened(&self, dtype: FloatDType) -> Tensor<2> {
        (self.0)(dtype).without_autodiff()
    }
}

impl Debug for FrozenWeight {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("FrozenWeight")
    }
}

#[cfg(feature = "autodiff")]
pub use tracked::widen_again_on;

/// The operation that autodiff records.
///
/// Burn chooses the backend of a tensor while the program runs, but an operation with a backward pass of its own is written for
/// one backend type, which only the program at the top can name.
#[cfg(feature = "autodiff")]
mod tracked {
    use std::sync::{PoisonError, RwLock};

    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::checkpoint::strategy::{BalancedCheckpointing, CheckpointStrategy, NoCheckpointing};
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
    use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor};
    use burn::tensor::Tensor;

    use super::FrozenWeight;

    /// The product if the input is on a certain backend, with a certain strategy of checkpoints.
    type Product = fn(&Tensor<2>, &FrozenWeight) -> Option<Tensor<2>>;

    /// Those of backends that the program named.
    static NAMED: RwLock<Vec<Product>> = RwLock::new(Vec::new());

    /// Have [`frozen_product`](super::frozen_product) keep no widened weights on the backend `B` either, from now on.
    ///
    /// A program that trains on a GPU calls this once, with `burn::backend::Cube`.
    pub fn widen_again_on<B: Backend>()
    where
        DispatchTensor: DispatchKindConversion<B>
            + DispatchKindConversion<Autodiff<B, NoCheckpointing>>
            + DispatchKindConversion<Autodiff<B, BalancedCheckpointing>>,
    {
        let products: [Product; 2] = [product_on::<B, NoCheckpointing>, product_on::<B, BalancedCheckpointing>];
        NAMED.write().unwrap_or_else(PoisonError::into_inner).extend(products);
    }

    /// `None` if no gradient is asked of the input, or its backend is not known.
    pub(super) fn product(input: &Tensor<2>, weight: &FrozenWeight) -> Option<Tensor<2>> {
        if !input.is_tracked() {
            return None;
        }
        #[cfg(feature = "flex")]
        {
            use burn_flex::Flex;
            let products: [Product; 2] = [product_on::<Flex, NoCheckpointing>, product_on::<Flex, BalancedCheckpointing>];
            if let Some(output) = products.iter().find_map(|product| product(input, weight)) {
                return Some(output);
            }
        }
        product_on_named(input, weight)
    }

    pub(super) fn product_on_named(input: &Tensor<2>, weight: &FrozenWeight) -> Option<Tensor<2>> {
        NAMED.read().unwrap_or_else(PoisonError::into_inner).iter().find_map(|product| product(input, weight))
    }

    fn product_on<B: Backend, C: CheckpointStrategy>(input: &Tensor<2>, weight: &FrozenWeight) -> Option<Tensor<2>>
    where
        DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B, C>>,
    {
        let (input, node) = input.clone().try_into_primitive::<Autodiff<B, C>>().ok()?.into_parts();
        let input = Tensor::<2>::from_primitive::<B>(input);
        let widened = weight.widened(input.dtype().into());
        let output = input.matmul(widened.transpose());
        let output = output.try_into_primitive::<B>().ok()?;
        let output = match FrozenProduct.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(operation) => operation.finish(weight.clone(), output),
            OpsKind::UnTracked(operation) => operation.finish(output),
        };
        Some(Tensor::from_primitive::<Autodiff<B, C>>(output))
    }

    #[derive(Debug)]
    struct FrozenProduct;

    impl<B: Backend> Backward<B, 1> for FrozenProduct
    where
        DispatchTensor: DispatchKindConversion<B>,
    {
        type State = FrozenWeight;

        fn backward(self, operation: Ops<FrozenWeight, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
            unary::<B, _>(operation.parents, operation.node, gradients, |gradient| {
                let gradient = Tensor::<2>::from_primitive::<B>(gradient);
                let weight = operation.state.widened(gradient.dtype().into());
                let of_input = gradient.matmul(weight);
                of_input.try_into_primitive::<B>().expect("a product stays on the backend of its factors")
            });
        }
    }
}

#[cfg(all(test, feature = "autodiff", feature = "flex"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::noise::TorchGenerator;
    use crate::ops::cast;

    #[test]
    fn a_backend_that_the_program_names_widens_again_too() {
        let device = Device::flex().autodiff();
        widen_again_on::<burn_flex::Flex>();
        let weight = FrozenWeight(Arc::new(|_| random(3, [3, 7], &Device::flex())));
        let product = |input: Tensor<2>| tracked::product_on_named(&input, &weight).expect("a product on the named backend");
        let weight = random(3, [3, 7], &Device::flex());
        let ordinary = with_gradient(&device, |input| input.matmul(weight.clone().transpose()));
        assert_eq!(with_gradient(&device, product), ordinary);
    }

    fn random<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
        let values = TorchGenerator::new(seed).normal(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// The result, and the gradient of its product with something random.
    fn with_gradient(device: &Device, product: impl Fn(Tensor<2>) -> Tensor<2>) -> [TensorData; 2] {
        let input = random(1, [5, 7], device).require_grad();
        let output = product(input.clone());
        let gradients = (output.clone() * random(2, [5, 3], device)).sum().backward();
        [output.into_data(), input.grad(&gradients).unwrap().into_data()]
    }

    #[test]
    fn gradients_are_those_of_the_product_with_the_widened_weight() {
        let plain = Device::flex();
        let stored = cast(random(3, [3, 7], &plain), FloatDType::BF16);
        for device in [Device::flex().autodiff(), Device::flex().autodiff().gradient_checkpointing()] {
            let weight = stored.clone();
            let frozen = with_gradient(&device, |input| {
                let weight = weight.clone();
                frozen_product(input, move |dtype| cast(weight.clone(), dtype))
            });
            let weight = cast(stored.clone(), FloatDType::F32);
            let ordinary = with_gradient(&device, |input| input.matmul(weight.clone().transpose()));
            assert_eq!(frozen, ordinary);
        }
    }

    #[test]
    fn the_weight_is_widened_again_for_the_gradient_and_nothing_holds_it_in_between() {
        let device = Device::flex().autodiff();
        let (widened, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
        let weight = {
            let (widened, alive) = (widened.clone(), alive.clone());
            move |_| {
                widened.fetch_add(1, Ordering::Relaxed);
                watched_matrix(&alive)
            }
        };
        let input = random(1, [5, 7], &device).require_grad();
        let output = frozen_product(input.clone(), weight);
        assert_eq!(widened.load(Ordering::Relaxed), 1);
        // The closure's own handle, and ours.
        assert_eq!(Arc::strong_count(&alive), 2);
        let gradients = output.sum().backward();
        assert!(input.grad(&gradients).is_some());
        assert_eq!(widened.load(Ordering::Relaxed), 2);
        assert_eq!(Arc::strong_count(&alive), 1);

        // An ordinary product does hold it.
        let _output = input.matmul(watched_matrix(&alive).transpose());
        assert_eq!(Arc::strong_count(&alive), 2);
    }

    /// A matrix that holds on to `alive` as long as its memory is used.
    fn watched_matrix(alive: &Arc<()>) -> Tensor<2> {
        struct Owner(Vec<u8>, #[expect(dead_code, reason = "it is counted")] Arc<()>);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let values: Vec<f32> = (0..21).map(|value| value as f32).collect();
        let owner = Owner(bytemuck::cast_slice(&values).to_vec(), alive.clone());
        let bytes = bytes::Bytes::from_owner(owner);
        let bytes = burn::tensor::Bytes::from_shared(bytes, burn::tensor::AllocationProperty::Other);
        let data = TensorData::from_bytes(bytes, [3, 7], burn::tensor::DType::F32);
        Tensor::from_data(data, &Device::flex())
    }

    #[test]
    fn an_input_without_gradients_has_its_weight_widened_once() {
        let device = Device::flex().autodiff();
        let widened = Arc::new(AtomicUsize::new(0));
        let output = frozen_product(random(1, [5, 7], &device), {
            let widened = widened.clone();
            move |_| {
                widened.fetch_add(1, Ordering::Relaxed);
                random(3, [3, 7], &Device::flex())
            }
        });
        assert!(!output.is_tracked());
        assert_eq!((widened.load(Ordering::Relaxed), Arc::strong_count(&widened)), (1, 1));
    }
}
