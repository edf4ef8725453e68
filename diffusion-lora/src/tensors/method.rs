//! How an adapter patches a weight.

/// How an adapter patches a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// `up · down`. arXiv 2106.09685.
    LowRank,
    /// `(up₁ · down₁) ∘ (up₂ · down₂)`. arXiv 2108.06098.
    Hadamard,
    /// `w₁ ⊗ w₂`. arXiv 2212.10650.
    Kronecker,
    /// A whole matrix, added to the weight.
    Difference,
    /// A whole matrix, in place of the weight.
    Replacement,
    /// A bias alone.
    BiasOnly,
}

impl Method {
    /// What people call an adapter of this kind.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LowRank => "LoRA",
            Self::Hadamard => "LoHa",
            Self::Kronecker => "LoKr",
            Self::Difference => "difference",
            Self::Replacement => "replacement",
            Self::BiasOnly => "bias",
        }
    }
}
