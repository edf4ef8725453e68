//! Attention, and its gradients.

mod backward;
mod forward;
mod inputs;
mod pack;
mod softmax;
mod tokens;

pub use inputs::Attention;
pub use tokens::{Bias, Strides, Tokens, TokensMut};

use crate::cpu::{Cpu, Vectors};
use crate::memory::Disjoint;
use crate::product::{GENERIC_ROWS, GENERIC_VECTORS, Products};
use crate::tile::{F32, Rounded};
use backward::backward;
use forward::{Job, forward};
use tokens::RowsMut;

/// `out = softmax(scale · queries · keysᵀ + bias) · values`, head by head.
///
/// A query that sees no key, since the bias hides them all, gets zeros. Every row of the result depends on its own query, head and
/// element of the batch alone, to the last bit, not on how many others there are nor on the number of threads. It does depend on
/// `products` and on the instructions of `cpu`. With [`Products::Bf16`] queries, keys, values and the numerators of softmax are
/// rounded to bf16; scores, their maximum, sums and the result are f32.
///
/// `log_sum_exp`, `[batch, heads, queries]`, gets the natural logarithm of the sum of the exponentials of each query's scores,
/// which [`attention_backward`] needs; `-inf` where no key is seen.
///
/// # Shapes
/// - out: segments of `[batch, heads, len, head_dim]`, as many tokens in all as there are queries
///
/// # Panics
/// If slices are too short for their strides, numbers of tokens do not fit together, rows of `out` overlap, or `head_dim` is zero.
///
/// # Example
/// ```
/// use diffusion_kernels::{Attention, Cpu, Products, Strides, Tokens, TokensMut, attention};
///
/// // Two text tokens and an image token, two heads of one number.
/// let (text, image) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0]);
/// let strides = |len| Strides::of_projection(len, 2, 1);
/// let values = [Tokens { values: &text, len: 2, strides: strides(2) }, Tokens { values: &image, len: 1, strides: strides(1) }];
/// let same = [Tokens { values: &[0.0, 0.0], len: 3, strides: Strides { batch: 0, head: 1, token: 0 } }];
/// let inputs = Attention {
///     batch: 1,
///     heads: 2,
///     head_dim: 1,
///     scale: 1.0,
///     queries: &same,
///     keys: &same,
///     values: &values,
///     bias: None,
///     causal: true,
/// };
/// let mut out = [0.0; 6];
/// let segment = TokensMut { values: &mut out, len: 3, strides: strides(3) };
/// attention(Cpu::detect(), Products::F32, &inputs, &mut [segment], None);
/// let means = [1.0, 2.0, 2.0, 3.0, 3.0, 4.0];
/// assert!(out.iter().zip(means).all(|(out, mean)| (out - mean).abs() < 1e-6));
/// ```
///
/// Reference: flash attention, arXiv 2205.14135, algorithm 1.
pub fn attention(
    cpu: Cpu,
    products: Products,
    inputs: &Attention<'_>,
    out: &mut [TokensMut<'_>],
    log_sum_exp: Option<&mut [f32]>,
) {
    let [queries, keys] = inputs.check();
    let Attention { batch, heads, head_dim, .. } = *inputs;
    let out = RowsMut::new("the result", out, [batch, heads, head_dim]);
    assert_eq!(out.len(), queries, "tokens of the result, one for each query");
    if let Some(all) = &log_sum_exp {
        assert_eq!(all.len(), batch * heads * queries, "log-sum-exps, one for each query");
    }
    let job = Job { inputs, queries, keys, out, log_sum_exp: log_sum_exp.map(Disjoint::new) };
    match (products, cpu.vectors()) {
        (Products::F32, Vectors::Generic(s)) => forward::<_, GENERIC_ROWS, GENERIC_VECTORS>(F32(s), &job),
        (Products::Bf16, Vectors::Generic(s)) => forward::<_, GENERIC_ROWS, GENERIC_VECTORS>(Rounded(s), &job),
        #[cfg(target_arch = "aarch64")]
        (Products::F32, Vectors::Neon(s)) => forward::<_, 6, 2>(F32(s), &job),
        #[cfg(target_arch = "aarch64")]
        (Products::Bf16, Vectors::Neon(s)) => forward::<_, 6, 2>(Rounded(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::F32, Vectors::Avx2(s)) => forward::<_, 6, 2>(F32(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::Bf16, Vectors::Avx2(s)) => forward::<_, 6, 2>(Rounded(s), &job),
        // 64 lanes suit heads of 64 and 128 numbers.
        #[cfg(target_arch = "x86_64")]
        (Products::F32, Vectors::Avx512(s)) => forward::<_, 6, 4>(F32(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::Bf16, Vectors::Avx512(s)) => match cpu.pairs() {
            Some(pairs) => forward::<_, 6, 4>(pairs, &job),
            None => forward::<_, 6, 4>(Rounded(s), &job),
        },
    }
}

/// Where [`attention_backward`] writes, in segments of any lengths and strides that suit.
#[derive(Debug)]
pub struct AttentionGradients<'a, 'b> {
    /// Of the queries.
    pub queries: &'a mut [TokensMut<'b>],
    /// Of the keys.
    pub keys: &'a mut [TokensMut<'b>],
    /// Of the values.
    pub values: &'a mut [TokensMut<'b>],
}

/// The gradients of queries, keys and values, from `grad_out`, that of the result; in f32.
///
/// `inputs` are what [`attention`] was called with, `out` and `log_sum_exp` what it gave. The bias gets no gradient. Scores are
/// computed again: no more of them is kept than a block of 96 queries and 256 keys has, for each thread. A head is computed by one
/// thread, and results do not depend on how many there are.
///
/// # Shapes
/// - out, `grad_out`, `gradients.queries`: segments of `[batch, heads, len, head_dim]`, as many tokens in all as there are queries
/// - `gradients.keys`, `gradients.values`: the same, as many as there are keys
/// - `log_sum_exp`: `[batch, heads, queries]`
///
/// # Panics
/// If slices are too short for their strides, numbers of tokens do not fit together, rows of gradients overlap, or `head_dim` is
/// zero.
///
/// Reference: flash attention, arXiv 2205.14135, algorithm 4.
pub fn attention_backward(
    cpu: Cpu,
    inputs: &Attention<'_>,
    out: &[Tokens<'_>],
    log_sum_exp: &[f32],
    grad_out: &[Tokens<'_>],
    gradients: AttentionGradients<'_, '_>,
) {
    let [queries, keys] = inputs.check();
    let Attention { batch, heads, head_dim, .. } = *inputs;
    for (name, segments) in [("the result", out), ("the result's gradient", grad_out)] {
        assert_eq!(inputs.check_tokens(name, segments), queries, "tokens of {name}, one for each query");
    }
    assert_eq!(log_sum_exp.len(), batch * heads * queries, "log-sum-exps, one for each query");
    let AttentionGradients { queries: of_queries, keys: of_keys, values: of_values } = gradients;
    let places = |name, segments, len| {
        let rows = RowsMut::new(name, segments, [batch, heads, head_dim]);
        assert_eq!(rows.len(), len, "tokens of {name}, one for each that there is");
        rows
    };
    let gradients = [
        places("queries' gradients", of_queries, queries),
        places("keys' gradients", of_keys, keys),
        places("values' gradients", of_values, keys),
    ];
    let job = backward::Job { inputs, queries, keys, out, log_sum_exp, grad_out, gradients };
    match cpu.vectors() {
        Vectors::Generic(s) => backward::<_, GENERIC_ROWS, GENERIC_VECTORS>(s, &job),
        #[cfg(target_arch = "aarch64")]
        Vectors::Neon(s) => backward::<_, 6, 2>(s, &job),
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx2(s) => backward::<_, 6, 2>(s, &job),
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx512(s) => backward::<_, 6, 4>(s, &job),
    }
}
