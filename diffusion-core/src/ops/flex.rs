//! Reaching the numbers of tensors on Burn's CPU backend.

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

/// The tensor with its numbers one after the other, copied where they are not. `None` on other backends and where autodiff
/// watches.
pub(super) fn contiguous<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    Some(tensor.clone().try_into_primitive::<Flex>().ok()?.to_contiguous())
}

/// The numbers of a [`contiguous`] tensor, if they are f32.
pub(super) fn numbers(tensor: &FlexTensor) -> Option<&[f32]> {
    tensor.as_slice()
}

/// [`contiguous`] of what may not be there: the outer `None` is where the general way must do.
#[expect(clippy::option_option, reason = "what is not there differs from what has no kernel, and `?` passes the latter on")]
pub(super) fn contiguous_option<const D: usize>(tensor: Option<&Tensor<D>>) -> Option<Option<FlexTensor>> {
    tensor.map_or(Some(None), |tensor| contiguous(tensor).map(Some))
}

/// [`numbers`] of what may not be there: the outer `None` is where the general way must do.
#[expect(clippy::option_option, reason = "what is not there differs from what has no kernel, and `?` passes the latter on")]
pub(super) fn numbers_option(tensor: Option<&FlexTensor>) -> Option<Option<&[f32]>> {
    tensor.map_or(Some(None), |tensor| numbers(tensor).map(Some))
}

/// The bytes of a [`contiguous`] tensor.
pub(super) fn bytes(tensor: &FlexTensor) -> Option<&[u8]> {
    let (start, end) = tensor.layout().contiguous_offsets()?;
    let size = tensor.dtype().size();
    Some(&tensor.bytes()[size * start..size * end])
}
