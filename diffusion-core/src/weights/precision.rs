//! How wide weights are stored, and how wide they compute.

use burn::tensor::{Device, FloatDType};

/// Storage and compute precision, chosen when a model is loaded.
///
/// A matrix is *stored* as its file has it, or narrower on request, and *widened where it is used*: at a thousand tokens
/// the cast costs a few per cent of the product. So SD3.5-Medium in f16 takes 5 GB of memory, not 10, on a CPU too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// How matrices are kept in memory.
    pub storage: Storage,
    /// What activations and products are computed in.
    pub compute: FloatDType,
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
        Self { storage: Storage::AsPublished, compute }
    }

    /// Weights as published, computing in f32: what the reference implementations are compared in.
    pub fn f32() -> Self {
        Self::computing_in(FloatDType::F32)
    }

    /// The narrowest of bf16, f16 and f32 that `device` can compute in.
    ///
    /// This is right for GPUs. CPUs convert half precision for every operation, so use [`f32`](Self::f32) there.
    pub fn narrowest_on(device: &Device) -> Self {
        let narrow = [FloatDType::BF16, FloatDType::F16];
        let compute = narrow.into_iter().find(|&dtype| device.supports_dtype(dtype));
        Self::computing_in(compute.unwrap_or(FloatDType::F32))
    }

    /// The same storage, computing in f32.
    ///
    /// Text encoders do: T5 overflows in f16, and they run once per prompt.
    pub fn with_f32_compute(self) -> Self {
        Self { compute: FloatDType::F32, ..self }
    }
}
