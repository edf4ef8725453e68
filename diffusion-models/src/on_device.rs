//! Tensors that go from one device to another.

use burn::tensor::{Device, Tensor};
use diffusion_core::TextEmbedding;
use diffusion_core::network::Conditioning;

/// The same numbers, as if they had been made on `device`: autodiff watches them if it watches the device.
///
/// Tensors that are there stay. The others go through the host, which is where Burn takes them through between backends too, and
/// wait for what is computed of them.
pub(crate) fn on_device<const D: usize>(tensor: Tensor<D>, device: &Device) -> Tensor<D> {
    let there = tensor.device();
    // To Burn, devices that differ in autodiff alone are equal.
    if there == *device && there.is_autodiff() == device.is_autodiff() {
        return tensor;
    }
    let dtype = tensor.dtype();
    Tensor::from_data(tensor.into_data(), (device, dtype))
}

/// An encoded text on `device`, as [`on_device`].
pub(crate) fn conditioning_on(conditioning: Conditioning, device: &Device) -> Conditioning {
    let Conditioning { tokens, pooled } = conditioning;
    Conditioning { tokens: on_device(tokens, device), pooled: on_device(pooled, device) }
}

/// What an encoder says, on `device`. Gradients find their way back.
pub(crate) fn embedding_on(embedding: TextEmbedding, device: &Device) -> TextEmbedding {
    let TextEmbedding { hidden_states, pooled } = embedding;
    TextEmbedding { hidden_states: recorded_on(hidden_states, device), pooled: pooled.map(|pooled| recorded_on(pooled, device)) }
}

fn recorded_on<const D: usize>(tensor: Tensor<D>, device: &Device) -> Tensor<D> {
    if tensor.device() == *device { tensor } else { tensor.to_device(device) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_as_if_it_had_been_made_where_it_goes() {
        let (plain, watched) = (Device::flex(), Device::flex().autodiff());
        let made = |device: &Device| Tensor::<2>::from_floats([[1.0, -2.5], [0.1, 7.0]], device);
        for (from, to) in [(&plain, &watched), (&watched, &plain), (&plain, &plain), (&watched, &watched)] {
            let moved = on_device(made(from), to);
            assert_eq!(moved.device().is_autodiff(), to.is_autodiff());
            assert_eq!(moved.into_data(), made(to).into_data());
        }
    }
}
