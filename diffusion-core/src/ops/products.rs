//! How exactly products are computed.

/// What the operands of products are rounded to; sums are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Products {
    /// They are not rounded: products have the type of the activations.
    #[default]
    Exact,
    /// bf16, while activations, norms and sums stay f32. This is for Burn's CPU backend (feature `flex`), whose activations are
    /// f32; elsewhere it is as [`Exact`](Self::Exact).
    Bf16,
}

impl Products {
    /// Whether this machine's processor computes products of bf16 faster than products of f32.
    pub fn bf16_are_faster() -> bool {
        #[cfg(feature = "flex")]
        return diffusion_kernels::Cpu::detect().instructions() >= diffusion_kernels::Instructions::Avx512Bf16;
        #[cfg(not(feature = "flex"))]
        false
    }
}

#[cfg(feature = "flex")]
impl From<Products> for diffusion_kernels::Products {
    fn from(products: Products) -> Self {
        match products {
            Products::Exact => Self::F32,
            Products::Bf16 => Self::Bf16,
        }
    }
}
