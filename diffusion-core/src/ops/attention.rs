//! Scaled dot-product attention.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, module};

use super::attending::Attending;
use super::products::Products;
use super::score_probe;

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
    score_probe::note(&segments, num_heads, options.scale);
    #[cfg(feature = "flex")]
    if let Some(attended) = flex::attention(&segments, num_heads, options) {
        return attended;
    }
    #[cfg(all(feature = "flex", feature = "autodiff"))]
    if let Some(attended) = recorded::attention(&segments, num_heads, options) {
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
    use diffusion_kernels::{Attention, Bias, Cpu, Strides, Tokens, TokensMut, attention as attend};

    use super::AttentionOptions;
    use crate::ops::attending::Attending;
    use crate::ops::flex::{contiguous, numbers};
    use crate::ops::large_buffer::Numbers;

    /// `None` where the general way must do.
    pub(super) fn attention<const N: usize>(
        segments: &[Attending; N],
        heads: usize,
        options: &AttentionOptions,
    ) -> Option<[Tensor<3>; N]> {
        let inputs = Inputs::of(segments, heads, options)?;
        let device = segments.first()?.query.device();
        let mut out: Vec<Numbers> = inputs.shapes.iter().map(|shape| Numbers::new(shape.iter().product())).collect();
        let mut places: Vec<TokensMut<'_>> =
            out.iter_mut().zip(&inputs.shapes).map(|(out, shape)| inputs.place(out.as_mut_slice(), shape[1])).collect();
        inputs.with(|attention| attend(Cpu::detect(), options.products.into(), attention, &mut places, None))?;
        let out = out.into_iter().zip(&inputs.shapes).map(|(out, shape)| out.into_tensor(*shape, &device));
        out.collect::<Vec<_>>().try_into().ok()
    }

    /// Queries, keys and values of all segments, as kernels read them.
    pub(super) struct Inputs {
        queries: Vec<FlexTensor>,
        keys: Vec<FlexTensor>,
        values: Vec<FlexTensor>,
        bias: Option<FlexTensor>,
        /// Of the segments, `[batch, len, width]`.
        pub(super) shapes: Vec<[usize; 3]>,
        heads: usize,
        scale: f32,
        causal: bool,
    }

    impl Inputs {
        pub(super) fn of(segments: &[Attending], heads: usize, options: &AttentionOptions) -> Option<Self> {
            let [batch, _, width] = segments.first()?.query.dims();
            let shapes: Vec<[usize; 3]> = segments.iter().map(|segment| segment.query.dims()).collect();
            let fits = |segment: &Attending| {
                let shape = segment.query.dims();
                [shape[0], shape[2]] == [batch, width] && segment.key.dims() == shape && segment.value.dims() == shape
            };
            let len = shapes.iter().map(|shape| shape[1]).sum();
            if !segments.iter().all(fits) || [batch, heads, len, width].contains(&0) || !width.is_multiple_of(heads) {
                return None;
            }
            let all = |of: fn(&Attending) -> &Tensor<3>| -> Option<Vec<FlexTensor>> {
                let tensors: Vec<FlexTensor> = segments.iter().map(|segment| contiguous(of(segment))).collect::<Option<_>>()?;
                tensors.iter().all(|tensor| tensor.dtype() == DType::F32).then_some(tensors)
            };
            let bias = match &options.bias {
                Some(bias) => {
                    let bias = bias.clone().try_into_primitive::<Flex>().ok()?;
                    bias_of(&bias, [batch, heads, len, len])?;
                    Some(bias)
                }
                None => None,
            };
            Some(Self {
                queries: all(|of| &of.query)?,
                keys: all(|of| &of.key)?,
                values: all(|of| &of.value)?,
                bias,
                shapes,
                heads,
                scale: options.scale.map_or_else(|| ((width / heads) as f32).sqrt().recip(), |scale| scale as f32),
                causal: options.causal,
            })
        }

        /// Call `body` with what kernels take.
        pub(super) fn with<R>(&self, body: impl FnOnce(&Attention<'_>) -> R) -> Option<R> {
            let [batch, _, width] = *self.shapes.first()?;
            let len = self.shapes.iter().map(|shape| shape[1]).sum();
            let bias = match &self.bias {
                Some(bias) => Some(bias_of(bias, [batch, self.heads, len, len])?),
                None => None,
            };
            Some(body(&Attention {
                batch,
                heads: self.heads,
                head_dim: width / self.heads,
                scale: self.scale,
                queries: &tokens(&self.queries, &self.shapes, self.heads)?,
                keys: &tokens(&self.keys, &self.shapes, self.heads)?,
                values: &tokens(&self.values, &self.shapes, self.heads)?,
                bias,
                causal: self.causal,
            }))
        }

        /// Where the tokens of a segment are written.
        pub(super) fn place<'a>(&self, values: &'a mut [f32], len: usize) -> TokensMut<'a> {
            let strides = Strides::of_projection(len, self.heads, self.shapes[0][2] / self.heads);
            TokensMut { values, len, strides }
        }
    }

    /// The tokens of segments of these shapes, `[batch, len, width]`.
    pub(super) fn tokens<'a>(tensors: &'a [FlexTensor], shapes: &[[usize; 3]], heads: usize) -> Option<Vec<Tokens<'a>>> {
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

/// With gradients by a kernel that keeps no scores; `None` where the general way must do.
#[cfg(all(feature = "flex", feature = "autodiff"))]
mod recorded {
    use burn::tensor::Tensor;
    use burn_flex::FlexTensor;
    use diffusion_kernels::{AttentionGradients, Cpu, TokensMut, attention as attend, attention_backward};

    use super::AttentionOptions;
    use super::flex::{Inputs, tokens};
    use crate::ops::attending::Attending;
    use crate::ops::flex::contiguous;
    use crate::ops::large_buffer::Numbers;
    use crate::ops::recorded::{Computed, recorded};

    pub(super) fn attention<const N: usize>(
        segments: &[Attending; N],
        heads: usize,
        options: &AttentionOptions,
    ) -> Option<[Tensor<3>; N]> {
        // Autodiff counts the inputs of an operation when it is compiled.
        match &segments[..] {
            [a] => of_segments(segments, [&a.query, &a.key, &a.value], heads, options),
            [a, b] => of_segments(segments, [&a.query, &a.key, &a.value, &b.query, &b.key, &b.value], heads, options),
            _ => None,
        }
    }

    /// `tensors`: query, key and value of each segment.
    fn of_segments<const N: usize, const M: usize>(
        segments: &[Attending; N],
        tensors: [&Tensor<3>; M],
        heads: usize,
        options: &AttentionOptions,
    ) -> Option<[Tensor<3>; N]> {
        if options.bias.is_some() {
            return None;
        }
        let [batch, _, width] = segments.first()?.query.dims();
        let lens = segments.each_ref().map(|segment| segment.query.dims()[1]);
        let flat = tensors.map(|tensor| {
            let [batch, len, width] = tensor.dims();
            tensor.clone().reshape([batch * len, width])
        });
        let attended = recorded(flat.each_ref(), |flat| {
            let device = flat[0].device();
            let plain: Vec<Attending> = flat
                .chunks_exact(3)
                .zip(lens)
                .map(|(tensors, len)| {
                    let of = |index: usize| tensors[index].clone().reshape([batch, len, width]);
                    Attending { query: of(0), key: of(1), value: of(2) }
                })
                .collect();
            let inputs = Inputs::of(&plain, heads, options)?;
            let all: usize = lens.iter().sum();
            let mut log_sum_exp = vec![0.0; batch * heads * all];
            let mut out = lens.map(|len| Numbers::new(batch * len * width));
            let mut places: Vec<TokensMut<'_>> =
                out.iter_mut().zip(lens).map(|(out, len)| inputs.place(out.as_mut_slice(), len)).collect();
            let (cpu, products) = (Cpu::detect(), options.products.into());
            inputs.with(|attention| attend(cpu, products, attention, &mut places, Some(&mut log_sum_exp)))?;
            let out = out.into_iter().zip(lens).map(|(out, len)| out.into_tensor([batch, len, width], &device));
            let out: Vec<Tensor<3>> = out.collect();
            let output = Tensor::cat(out.clone(), 1).reshape([batch * all, width]);
            let of_inputs = move |gradient: Tensor<2>| {
                let gradient = gradient.reshape([batch, all, width]);
                let mut first = 0;
                let gradients = lens.map(|len| {
                    first += len;
                    gradient.clone().narrow(1, first - len, len)
                });
                let contiguous = |tensors: &[Tensor<3>]| tensors.iter().map(contiguous).collect::<Option<Vec<FlexTensor>>>();
                let (out, of_out) = (contiguous(&out)?, contiguous(&gradients)?);
                let mut found: [Numbers; M] = std::array::from_fn(|index| Numbers::new(batch * lens[index / 3] * width));
                let mut places: [Vec<TokensMut<'_>>; 3] = [const { Vec::new() }; 3];
                for (index, found) in found.iter_mut().enumerate() {
                    places[index % 3].push(inputs.place(found.as_mut_slice(), lens[index / 3]));
                }
                let [queries, keys, values] = &mut places;
                let gradients = AttentionGradients { queries, keys, values };
                let (out, of_out) = (tokens(&out, &inputs.shapes, heads)?, tokens(&of_out, &inputs.shapes, heads)?);
                inputs.with(|attention| attention_backward(cpu, attention, &out, &log_sum_exp, &of_out, gradients))?;
                let mut lens = (0..M).map(|index| lens[index / 3]);
                Some(found.map(|found| found.into_tensor([batch * lens.next().unwrap_or_default(), width], &device)))
            };
            Some(Computed::new(output, move |gradient, _| of_inputs(gradient).expect("a kernel for f32").map(Some)))
        })?;
        let attended = attended.reshape([batch, lens.iter().sum(), width]);
        let mut first = 0;
        Some(lens.map(|len| {
            first += len;
            if N == 1 { attended.clone() } else { attended.clone().narrow(1, first - len, len) }
        }))
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
