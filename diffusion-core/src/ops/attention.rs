//! Scaled dot-product attention.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, module};

use super::products::Products;

/// Queries, keys and values of some tokens, as projections give them: each `[batch, len, num_heads * head_dim]`.
#[derive(Clone, Debug)]
pub struct Attending {
    /// What the tokens ask.
    pub query: Tensor<3>,
    /// What they are asked by.
    pub key: Tensor<3>,
    /// What they answer.
    pub value: Tensor<3>,
}

/// Settings of [`attention`]. The default is plain attention with scale `1 / sqrt(head_dim)`.
#[derive(Clone, Debug, Default)]
pub struct AttentionOptions {
    /// Factor of the scores in place of `1 / sqrt(head_dim)`.
    pub scale: Option<f64>,
    /// Whether a token sees only itself and what comes before.
    pub causal: bool,
    /// Added to the scores, `[1 or batch, num_heads, len, len]`, where `len` counts the tokens of all segments.
    pub bias: Option<Tensor<4>>,
    /// How exactly both products are computed.
    pub products: Products,
}

/// `softmax(scale Q Kᵀ + bias) V`, where every token sees the tokens of all segments: text and image, say. The result has the
/// segments of the input.
///
/// On Burn's CPU backend (feature `flex`) segments and heads are read where projections wrote them.
///
/// # Shapes
/// - segments: of the same batch and width each; results: `[batch, len, num_heads * head_dim]`
pub fn attention<const N: usize>(segments: [Attending; N], num_heads: usize, options: &AttentionOptions) -> [Tensor<3>; N] {
    #[cfg(feature = "flex")]
    if let Some(attended) = flex::attention(&segments, num_heads, options) {
        return attended;
    }
    general(segments, num_heads, options)
}

/// By Burn's own attention, of all tokens in a row.
fn general<const N: usize>(segments: [Attending; N], num_heads: usize, options: &AttentionOptions) -> [Tensor<3>; N] {
    let lens = segments.each_ref().map(|segment| segment.query.dims()[1]);
    let heads = |of: fn(&Attending) -> &Tensor<3>| match &segments[..] {
        [only] => split_heads(of(only).clone(), num_heads),
        all => Tensor::cat(all.iter().map(|segment| split_heads(of(segment).clone(), num_heads)).collect(), 2),
    };
    let (query, key, value) = (heads(|of| &of.query), heads(|of| &of.key), heads(|of| &of.value));
    let AttentionOptions { scale, causal, bias, products: _ } = options.clone();
    let options = AttentionModuleOptions { scale, is_causal: causal, ..Default::default() };
    let attended = merge_heads(module::attention(query, key, value, None, bias, options));
    let mut first = 0;
    lens.map(|len| {
        first += len;
        attended.clone().narrow(1, first - len, len)
    })
}

/// `[batch, len, num_heads * head_dim]` to `[batch, num_heads, len, head_dim]`.
fn split_heads(x: Tensor<3>, num_heads: usize) -> Tensor<4> {
    let [batch, len, width] = x.dims();
    x.reshape([batch, len, num_heads, width / num_heads]).swap_dims(1, 2)
}

/// `[batch, num_heads, len, head_dim]` to `[batch, len, num_heads * head_dim]`.
fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, num_heads, len, head_dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, len, num_heads * head_dim])
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::{DType, Tensor};
    use burn_flex::{Flex, FlexTensor};
    use diffusion_kernels::{Bias, Cpu, Strides, Tokens, TokensMut, attention as attend};

    use super::{Attending, AttentionOptions};
    use crate::ops::flex::{contiguous, numbers};
    use crate::ops::large_buffer::Numbers;

    /// `None` where the general way must do.
    pub(super) fn attention<const N: usize>(
        segments: &[Attending; N],
        heads: usize,
        options: &AttentionOptions,
    ) -> Option<[Tensor<3>; N]> {
        let device = segments.first()?.query.device();
        let [batch, _, width] = segments.first()?.query.dims();
        let shapes = segments.each_ref().map(|segment| segment.query.dims());
        let fits = |segment: &Attending| {
            let shape = segment.query.dims();
            [shape[0], shape[2]] == [batch, width] && segment.key.dims() == shape && segment.value.dims() == shape
        };
        let len = shapes.iter().map(|shape| shape[1]).sum();
        if !segments.iter().all(fits) || [batch, heads, len, width].contains(&0) || !width.is_multiple_of(heads) {
            return None;
        }
        let head_dim = width / heads;
        let all = |of: fn(&Attending) -> &Tensor<3>| segments.iter().map(|segment| contiguous(of(segment))).collect();
        let queries: Option<Vec<FlexTensor>> = all(|of| &of.query);
        let keys: Option<Vec<FlexTensor>> = all(|of| &of.key);
        let values: Option<Vec<FlexTensor>> = all(|of| &of.value);
        let (queries, keys, values) = (queries?, keys?, values?);
        let bias = match &options.bias {
            Some(bias) => Some(bias.clone().try_into_primitive::<Flex>().ok()?),
            None => None,
        };
        let attention = diffusion_kernels::Attention {
            batch,
            heads,
            head_dim,
            scale: options.scale.map_or_else(|| (head_dim as f32).sqrt().recip(), |scale| scale as f32),
            queries: &tokens(&queries, &shapes, heads)?,
            keys: &tokens(&keys, &shapes, heads)?,
            values: &tokens(&values, &shapes, heads)?,
            bias: match &bias {
                Some(bias) => Some(bias_of(bias, [batch, heads, len, len])?),
                None => None,
            },
            causal: options.causal,
        };
        let mut out = shapes.map(|shape| Numbers::new(shape.iter().product()));
        let mut places: Vec<TokensMut<'_>> = out
            .iter_mut()
            .zip(shapes)
            .map(|(out, [_, len, _])| TokensMut {
                values: out.as_mut_slice(),
                len,
                strides: Strides::of_projection(len, heads, head_dim),
            })
            .collect();
        attend(Cpu::detect(), options.products.into(), &attention, &mut places, None);
        let mut shapes = shapes.into_iter();
        Some(out.map(|out| out.into_tensor(shapes.next().unwrap_or_default(), &device)))
    }

    /// The tokens of segments of these shapes, `[batch, len, width]`.
    fn tokens<'a>(tensors: &'a [FlexTensor], shapes: &[[usize; 3]], heads: usize) -> Option<Vec<Tokens<'a>>> {
        let tokens = tensors.iter().zip(shapes).map(|(tensor, &[_, len, width])| {
            Some(Tokens { values: numbers(tensor)?, len, strides: Strides::of_projection(len, heads, width / heads) })
        });
        tokens.collect()
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

    #[test]
    fn the_kernel_attends_as_the_general_way_does() {
        let device = Device::flex();
        let mut generator = TorchGenerator::new(8);
        for ([batch, heads, head_dim], lens) in [([2, 3, 8], [5, 2]), ([1, 2, 64], [40, 37]), ([1, 1, 24], [1, 300])] {
            let mut random = |shape: &[usize]| TensorData::new(generator.normal(shape.iter().product()), shape.to_vec());
            let segments = lens.map(|len| {
                let mut projected = || Tensor::<3>::from_data(random(&[batch, len, heads * head_dim]), &device);
                Attending { query: projected() * 0.5, key: projected(), value: projected() }
            });
            let len: usize = lens.iter().sum();
            let mut bias = |images| Some(Tensor::<4>::from_data(random(&[images, heads, len, len]), &device));
            for bias in [None, bias(1), bias(batch)] {
                for (scale, causal) in [(None, false), (Some(1.0), false), (None, true)] {
                    let options = AttentionOptions { scale, causal, bias: bias.clone(), products: Products::Exact };
                    let expected = general(segments.clone(), heads, &options);
                    let found = flex::attention(&segments, heads, &options).expect("a kernel for f32");
                    for (found, expected) in found.into_iter().zip(expected) {
                        assert_eq!(found.dims(), expected.dims());
                        let difference: f32 = (found - expected).abs().max().into_scalar();
                        // Exponentials of scores of some tens, with their rounding errors; unscaled ones are as large.
                        assert!(difference < 5e-6, "{lens:?}, {options:?}: {difference}");
                    }
                }
            }
        }
    }
}
