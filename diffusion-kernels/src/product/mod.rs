//! Products of linear layers.

mod decode;
mod epilogue;
mod few_rows;
mod job;
mod multiply;
mod pack;
mod packed_input;
mod weight;

pub use epilogue::{Activation, Epilogue, PerImage, Residual};
pub(crate) use pack::{Piece, pack_weight};
pub use weight::{Weight, WidenRows};

use crate::Cpu;
use crate::cpu::Vectors;
use crate::memory::Disjoint;
use crate::tile::{F32, Rounded};
use job::Job;
use multiply::multiply;

/// What products are computed in; sums are f32 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Products {
    /// f32 operands.
    #[default]
    F32,
    /// Operands rounded to bf16, ties to even. At twice the rate with [`Instructions::Avx512Bf16`](crate::Instructions), where
    /// subnormal operands count as zero; elsewhere at the rate of f32.
    Bf16,
}

/// `out = epilogue(input · weightᵀ)`, as linear layers have it.
///
/// Row `i` of `out` depends on row `i` of `input` alone, to the last bit: neither on how many rows there are nor on the number
/// of threads. It does depend on `products` and on the instructions of `cpu`, and the last bits on how a weight is stored, where
/// that decides on the parts that a sum is cut into ([`Weight::widened_by`]).
///
/// The weight is widened piece by piece while it is brought in the order that the processor multiplies in; there is never a
/// widened copy of it.
///
/// # Shapes
/// - input: `[rows, inputs]`, weight: `[outputs, inputs]`, out: `[rows, outputs]`
///
/// # Panics
/// If the lengths do not fit together.
///
/// # Example
/// ```
/// use diffusion_kernels::{Cpu, Epilogue, Products, Weight, WeightFormat, linear};
///
/// let bytes: Vec<u8> = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|value| value.to_le_bytes()).collect();
/// let weight = Weight::new(WeightFormat::F32, &bytes, [2, 3]);
/// let epilogue = Epilogue { bias: Some(&[0.5, 0.0]), ..Epilogue::default() };
/// let mut out = [0.0; 2];
/// linear(Cpu::detect(), Products::F32, &[1.0, 0.0, 1.0], &weight, &epilogue, &mut out);
/// assert_eq!(out, [4.5, 10.0]);
/// ```
pub fn linear(cpu: Cpu, products: Products, input: &[f32], weight: &Weight<'_>, epilogue: &Epilogue<'_>, out: &mut [f32]) {
    let [outputs, inputs] = weight.shape();
    if outputs == 0 {
        assert!(out.is_empty(), "{} numbers of a result without columns", out.len());
        return;
    }
    let rows = out.len() / outputs;
    assert_eq!(out.len(), rows * outputs, "numbers of the result, in rows of {outputs}");
    assert_eq!(input.len(), rows * inputs, "numbers of the input, in {rows} rows of {inputs}");
    epilogue.check(rows, outputs);
    let job = Job { input, weight, epilogue, out: Disjoint::new(out), rows };
    match (products, cpu.vectors()) {
        (Products::F32, Vectors::Generic(s)) => multiply::<_, GENERIC_ROWS, GENERIC_VECTORS>(F32(s), &job),
        (Products::Bf16, Vectors::Generic(s)) => multiply::<_, GENERIC_ROWS, GENERIC_VECTORS>(Rounded(s), &job),
        #[cfg(target_arch = "aarch64")]
        (Products::F32, Vectors::Neon(s)) => multiply::<_, 6, 2>(F32(s), &job),
        #[cfg(target_arch = "aarch64")]
        (Products::Bf16, Vectors::Neon(s)) => multiply::<_, 6, 2>(Rounded(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::F32, Vectors::Avx2(s)) => multiply::<_, 6, 2>(F32(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::Bf16, Vectors::Avx2(s)) => multiply::<_, 6, 2>(Rounded(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::F32, Vectors::Avx512(s)) => multiply::<_, 8, 3>(F32(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::Bf16, Vectors::Avx512(s)) => match cpu.pairs() {
            Some(pairs) => multiply::<_, 8, 3>(pairs, &job),
            None => multiply::<_, 8, 3>(Rounded(s), &job),
        },
    }
}

/// Rows and vectors of a tile of plain Rust: as many sums as fit into the registers that every target has.
pub(crate) const GENERIC_ROWS: usize = 4;
pub(crate) const GENERIC_VECTORS: usize = 1;
