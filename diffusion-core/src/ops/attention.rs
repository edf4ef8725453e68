//! Scaled dot-product attention.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, module};

/// Settings of [`attention`]. The default is plain attention with scale `1 / sqrt(head_dim)`.
#[derive(Clone, Debug, Default)]
pub struct AttentionOptions {
    /// Factor of the scores in place of `1 / sqrt(head_dim)`.
    pub scale: Option<f64>,
    /// Whether a position sees only itself and what comes before.
    pub causal: bool,
    /// Added to the scores, `[1 or batch, num_heads, query_len, key_len]`.
    pub bias: Option<Tensor<4>>,
}

/// `softmax(scale Q Kᵀ + bias) V`.
///
/// # Shapes
/// - query: `[batch, num_heads, query_len, head_dim]`; key, value: `[batch, num_heads, key_len, head_dim]`
/// - result: `[batch, num_heads, query_len, head_dim]`
///
/// On Burn's CPU backend (feature `flex`) heads are read where projections wrote them, through views that swap axes, and the
/// result is such a view.
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, options: AttentionOptions) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(attended) = flex::attention([&query, &key, &value], &options) {
        return attended;
    }
    let AttentionOptions { scale, causal, bias } = options;
    let options = AttentionModuleOptions { scale, is_causal: causal, ..Default::default() };
    module::attention(query, key, value, None, bias, options)
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::{DType, Tensor};
    use burn_flex::{Flex, FlexTensor};
    use diffusion_kernels::{Attention, Bias, Cpu, Products, Strides, Tokens, TokensMut, attention as attend};

    use super::AttentionOptions;
    use crate::ops::large_buffer::filled_f32;

    /// `None` where the general way must do.
    pub(super) fn attention(inputs: [&Tensor<4>; 3], options: &AttentionOptions) -> Option<Tensor<4>> {
        let device = inputs[0].device();
        let [batch, heads, query_len, head_dim] = inputs[0].dims();
        let [_, _, key_len, _] = inputs[1].dims();
        let expected = [batch, heads, key_len, head_dim];
        if inputs[1].dims() != expected
            || inputs[2].dims() != expected
            || [batch, heads, query_len, key_len, head_dim].contains(&0)
        {
            return None;
        }
        let [queries, keys, values] = inputs.map(|input| input.clone().try_into_primitive::<Flex>().ok());
        let (queries, keys, values) = (queries?, keys?, values?);
        let bias = match &options.bias {
            Some(bias) => Some(bias.clone().try_into_primitive::<Flex>().ok()?),
            None => None,
        };
        let attention = Attention {
            batch,
            heads,
            head_dim,
            scale: options.scale.map_or_else(|| (head_dim as f32).sqrt().recip(), |scale| scale as f32),
            queries: &[tokens(&queries, query_len)?],
            keys: &[tokens(&keys, key_len)?],
            values: &[tokens(&values, key_len)?],
            bias: match &bias {
                Some(bias) => Some(bias_of(bias, [batch, heads, query_len, key_len])?),
                None => None,
            },
            causal: options.causal,
        };
        let attended: Tensor<4> = filled_f32([batch, query_len, heads, head_dim], &device, |out| {
            let strides = Strides::of_projection(query_len, heads, head_dim);
            attend(Cpu::detect(), Products::F32, &attention, &mut [TokensMut { values: out, len: query_len, strides }], None);
        });
        Some(attended.swap_dims(1, 2))
    }

    fn tokens(tensor: &FlexTensor, len: usize) -> Option<Tokens<'_>> {
        let (values, [batch, head, token]) = rows(tensor)?;
        Some(Tokens { values, len, strides: Strides { batch, head, token } })
    }

    /// A bias for all elements of the batch, or for each.
    fn bias_of(tensor: &FlexTensor, [batch, heads, query_len, key_len]: [usize; 4]) -> Option<Bias<'_>> {
        let dims: [usize; 4] = tensor.layout().shape().dims();
        if dims[1..] != [heads, query_len, key_len] || ![1, batch].contains(&dims[0]) {
            return None;
        }
        let (values, [of_batch, head, token]) = rows(tensor)?;
        let of_batch = if dims[0] == 1 { 0 } else { of_batch };
        Some(Bias { values, strides: Strides { batch: of_batch, head, token } })
    }

    /// The numbers of an f32 tensor from its first one on, and the distances along the first three axes. `None` if the numbers
    /// of the last axis do not follow one another.
    fn rows(tensor: &FlexTensor) -> Option<(&[f32], [usize; 3])> {
        if tensor.dtype() != DType::F32 {
            return None;
        }
        let layout = tensor.layout();
        let &[batch, head, token, number] = layout.strides() else { return None };
        let is_row = number == 1 || layout.shape().dims::<4>()[3] == 1;
        let distances = [usize::try_from(batch).ok()?, usize::try_from(head).ok()?, usize::try_from(token).ok()?];
        is_row.then(|| (&tensor.storage::<f32>()[layout.start_offset()..], distances))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::noise::TorchGenerator;

    fn general(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, options: AttentionOptions) -> Tensor<4> {
        let AttentionOptions { scale, causal, bias } = options;
        let options = AttentionModuleOptions { scale, is_causal: causal, ..Default::default() };
        module::attention(query, key, value, None, bias, options)
    }

    #[test]
    fn the_kernel_attends_as_the_general_way_does() {
        let device = Device::flex();
        let mut generator = TorchGenerator::new(8);
        let mut random = |shape: [usize; 4]| {
            let len = shape.iter().product();
            Tensor::<4>::from_data(TensorData::new(generator.normal(len), shape), &device)
        };
        for [batch, heads, query_len, key_len, head_dim] in [[2, 3, 5, 7, 8], [1, 2, 77, 77, 64], [1, 1, 9, 300, 24]] {
            // As projections write them, seen as heads; and the same with a layout of their own.
            let mut projected = |len| random([batch, len, heads, head_dim]).swap_dims(1, 2);
            let (query, key, value) = (projected(query_len), projected(key_len), projected(key_len));
            let biases = [None, Some(random([1, heads, query_len, key_len])), Some(random([batch, heads, query_len, key_len]))];
            let settings = biases.into_iter().flat_map(|bias| {
                [(None, false), (Some(1.0), false), (None, query_len == key_len)].map(|(scale, causal)| AttentionOptions {
                    scale,
                    causal,
                    bias: bias.clone(),
                })
            });
            for options in settings {
                let expected = general(query.clone(), key.clone(), value.clone(), options.clone());
                let inputs = [query.clone(), key.clone(), value.clone()];
                let contiguous = inputs.clone().map(|input| input + 0.0);
                for inputs in [inputs, contiguous] {
                    let found = flex::attention([&inputs[0], &inputs[1], &inputs[2]], &options).expect("a kernel for f32");
                    let difference: f32 = (found - expected.clone()).abs().max().into_scalar();
                    // Exponentials of scores of some tens, with their rounding errors; unscaled ones are as large.
                    assert!(difference < 5e-6, "{query_len} x {key_len} x {head_dim}, {options:?}: {difference}");
                }
            }
        }
    }
}
