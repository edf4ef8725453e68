//! The products of low-rank adaptation. arXiv 2106.09685.

use burn::tensor::{FloatDType, Tensor};

use super::cast::cast;
use super::epilogue::Epilogue;
use super::linear::{Linear, StoredMatrix, linear};
use super::products::Products;

/// `up · down`, what low-rank adaptation adds to a weight.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// `[rank, columns]`, f32.
    pub down: Tensor<2>,
    /// `[rows, rank]`, f32, all scales within.
    pub up: Tensor<2>,
}

impl LowRank {
    /// What it adds to a product with the weight: two narrow products, in the type of `input`.
    ///
    /// # Shapes
    /// - input: `[len, columns]`, result: `[len, rows]`
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        product(product(input, &self.down), &self.up)
    }

    /// `weight + up · down`, computed in f32 and rounded once to the type of `weight`.
    ///
    /// On Burn's CPU backend (feature `flex`) all cores work on it a few rows at a time, so that the weight is read once, the
    /// result written once, and nothing of their size besides.
    ///
    /// # Shapes
    /// - weight and result: `[rows, columns]`
    pub fn fused_with(self, weight: Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if let Some(fused) = flex::fused(&weight, &self) {
            return fused;
        }
        let dtype: FloatDType = weight.dtype().into();
        let delta = self.up.matmul(self.down);
        cast(cast(weight, FloatDType::F32) + delta, dtype)
    }
}

/// `input factorᵀ`, in the type of `input`.
fn product(input: Tensor<2>, factor: &Tensor<2>) -> Tensor<2> {
    let layer = Linear::of(StoredMatrix::Plain(factor), Products::Exact);
    linear(&input, &layer, Epilogue::None).unwrap_or_else(|| {
        let compute: FloatDType = input.dtype().into();
        input.matmul(cast(factor.clone(), compute).transpose())
    })
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::{DType, Tensor};
    use burn_flex::Flex;
    use rayon::prelude::*;

    use super::LowRank;
    use crate::format::Format;
    use crate::ops::large_buffer::filled;

    /// Numbers that a core works on at a time: their f32 values stay in its cache.
    const CHUNK: usize = 1 << 17;

    /// `None` where the general way must do.
    pub(super) fn fused(weight: &Tensor<2>, low_rank: &LowRank) -> Option<Tensor<2>> {
        let dtype = weight.dtype();
        let format = match dtype {
            DType::F32 => Format::F32,
            DType::F16 => Format::F16,
            DType::BF16 => Format::BF16,
            _ => return None,
        };
        let [rows, columns] = weight.dims();
        let [rank, _] = low_rank.down.dims();
        let device = weight.device();
        let primitive = weight.clone().try_into_primitive::<Flex>().ok()?;
        let (start, end) = primitive.layout().contiguous_offsets()?;
        let size = dtype.size();
        let source = &primitive.bytes()[size * start..size * end];
        let down: Vec<f32> = low_rank.down.to_data().try_into_vec().ok()?;
        let up: Vec<f32> = low_rank.up.to_data().try_into_vec().ok()?;

        let chunk_rows = (CHUNK / columns.max(1)).max(1);
        let chunk_bytes = chunk_rows * columns * size;
        Some(filled([rows, columns], dtype, &device, |fused| {
            let chunks = fused.par_chunks_mut(chunk_bytes).zip(source.par_chunks(chunk_bytes));
            chunks.zip(up.par_chunks(chunk_rows * rank)).for_each_init(
                || vec![0f32; chunk_rows * columns],
                |values, ((fused, source), up)| {
                    let num_rows = up.len() / rank;
                    let values = &mut values[..num_rows * columns];
                    format.widen(source, values);
                    add_product(values, up, &down, [num_rows, rank, columns]);
                    format.narrow(values, fused);
                },
            );
        }))
    }

    /// `values += up · down`, row-major, of sizes `[rows, columns]`, `[rows, rank]` and `[rank, columns]`.
    fn add_product(values: &mut [f32], up: &[f32], down: &[f32], [rows, rank, columns]: [usize; 3]) {
        assert!(values.len() == rows * columns && up.len() == rows * rank && down.len() == rank * columns);
        let (columns_stride, rank_stride) = (columns as isize, rank as isize);
        // SAFETY: the three matrices are contiguous, of the sizes asserted above, and do not overlap.
        unsafe {
            gemm::gemm(
                rows,
                columns,
                rank,
                values.as_mut_ptr(),
                1,
                columns_stride,
                true,
                up.as_ptr(),
                1,
                rank_stride,
                down.as_ptr(),
                1,
                columns_stride,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }

    #[cfg(test)]
    mod tests {
        use burn::tensor::{Device, FloatDType, TensorData};

        use super::*;
        use crate::noise::TorchGenerator;
        use crate::ops::cast;

        /// The fast way rounds as the general way does, in every type that weights are stored in.
        #[test]
        fn fusing_rounds_once_and_to_nearest() {
            let device = Device::flex();
            let mut generator = TorchGenerator::new(3);
            let mut random = |rows: usize, columns: usize| {
                Tensor::<2>::from_data(TensorData::new(generator.normal(rows * columns), [rows, columns]), &device)
            };
            let (weight, down, up) = (random(150, 1100), random(5, 1100), random(150, 5));
            for dtype in [FloatDType::F32, FloatDType::F16, FloatDType::BF16] {
                let weight = cast(weight.clone(), dtype);
                let low_rank = LowRank { down: down.clone(), up: up.clone() };
                let found = super::fused(&weight, &low_rank).unwrap();
                let exact = cast(weight, FloatDType::F32) + up.clone().matmul(down.clone());
                let difference = (cast(found, FloatDType::F32) - exact.clone()).abs() / exact.abs().clamp_min(1.0);
                let half_step = match dtype {
                    FloatDType::BF16 => 2f32.powi(-8),
                    FloatDType::F16 => 2f32.powi(-11),
                    _ => 2f32.powi(-22),
                };
                assert!(difference.max().into_scalar::<f32>() <= half_step * 1.01, "{dtype:?}");
            }
        }
    }
}
