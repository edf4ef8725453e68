//! How wide weights are stored, how wide they compute, and how exact their products are.

use std::fmt::{self, Display};

use burn::tensor::{Device, FloatDType};

pub use crate::ops::Products;

/// Precision of storage, activations and products, chosen when a model is loaded.
///
/// A matrix is *stored* as its file has it, or narrower on request, and *widened where it is used*: at a thousand tokens
/// the cast costs a few per cent of the product. So SD3.5-Medium in f16 takes 5 GB of memory, not 10, on a CPU too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// How matrices are kept in memory.
    pub storage: Storage,
    /// What activations are computed in.
    pub compute: FloatDType,
    /// How exactly products are computed.
    pub products: Products,
}

/// How matrices are kept in memory. Vectors and convolution kernels are small and always kept in the compute type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Storage {
    /// As the file has them; on a CPU they stay in the memory-mapped file. 8-bit floats and GGUF's blocks stay packed on
    /// every device that keeps bytes, and are widened to the compute type while loading where it does not (`WebGPU`).
    #[default]
    AsPublished,
    /// Converted to this type while loading.
    Converted(FloatDType),
}

impl Precision {
    /// Weights as published, computing in `compute`.
    pub fn computing_in(compute: FloatDType) -> Self {
        Self { storage: Storage::AsPublished, compute, products: Products::Exact }
    }

    /// Weights as published, computing in f32: what the reference implementations are compared in.
    pub fn f32() -> Self {
        Self::computing_in(FloatDType::F32)
    }

    /// Weights as published, computing in f32 but for the operands of products, which are rounded to bf16: what a CPU is fast at
    /// if [`Products::bf16_are_faster`].
    pub fn bf16_products() -> Self {
        Self { products: Products::Bf16, ..Self::f32() }
    }

    /// The narrowest of bf16, f16 and f32 that `device` can compute in.
    ///
    /// This is right for GPUs. CPUs convert half precision for every operation, so use [`f32`](Self::f32) or
    /// [`bf16_products`](Self::bf16_products) there.
    pub fn narrowest_on(device: &Device) -> Self {
        let narrow = [FloatDType::BF16, FloatDType::F16];
        let compute = narrow.into_iter().find(|&dtype| device.supports_dtype(dtype));
        Self::computing_in(compute.unwrap_or(FloatDType::F32))
    }

    /// The same storage and products, computing in f32.
    ///
    /// Text encoders do: T5 overflows in f16, and they run once per prompt.
    pub fn with_f32_compute(self) -> Self {
        Self { compute: FloatDType::F32, ..self }
    }

    /// The same, its operands not rounded for products.
    pub fn with_exact_products(self) -> Self {
        Self { products: Products::Exact, ..self }
    }
}

/// What numbers are computed in: `f32`, or `f32, products in bf16`.
impl Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compute = format!("{:?}", self.compute).to_lowercase();
        match self.products {
            Products::Exact => f.write_str(&compute),
            Products::Bf16 => write!(f, "{compute}, products in bf16"),
        }
    }
}
