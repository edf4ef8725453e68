//! Adapters as training leaves them.

use burn::tensor::Tensor;
use diffusion_core::weights::ComponentId;

/// The adapter of one weight, trained. It adds the product of its factors, times alpha over rank, to the weight.
#[derive(Clone, Debug)]
pub struct TrainedModule {
    /// The network that the weight is in.
    pub component: ComponentId,
    /// Path of the weight in the network: `blocks.0.image.attention.query.weight`.
    pub parameter: String,
    /// Its factors.
    pub factors: TrainedFactors,
    /// The inner dimension of its factors, and what alpha is divided by.
    pub rank: usize,
    /// What the product is multiplied with, times the rank.
    pub alpha: f64,
}

/// The factors of a trained adapter, in f32. Rows and columns are those of the weight.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each trained weight")]
pub enum TrainedFactors {
    /// `up · down`: LoRA, arXiv 2106.09685; with magnitudes DoRA, arXiv 2402.09353.
    LowRank {
        /// `[rank, columns]`.
        down: Tensor<2>,
        /// `[rows, rank]`.
        up: Tensor<2>,
        /// Lengths of the changed weight's rows, `[rows, 1]`.
        magnitude: Option<Tensor<2>>,
    },
    /// The Kronecker product of two matrices: `LoKr`, arXiv 2212.10650.
    Kronecker([KroneckerFactor; 2]),
}

/// A factor of a Kronecker product.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are two for each trained weight")]
pub enum KroneckerFactor {
    /// A matrix.
    Whole(Tensor<2>),
    /// A matrix as a product of two.
    Product {
        /// `[rows of the factor, rank]`.
        up: Tensor<2>,
        /// `[rank, columns of the factor]`.
        down: Tensor<2>,
    },
}

impl TrainedModule {
    /// What the product of the factors is multiplied with.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// The same adapter with an alpha that is its rank, the scale within a factor: for programs that read no alpha.
    #[must_use]
    pub fn with_alpha_folded(self) -> Self {
        let scale = self.scale();
        let factors = match self.factors {
            TrainedFactors::LowRank { down, up, magnitude } => {
                TrainedFactors::LowRank { down, up: up.mul_scalar(scale), magnitude }
            }
            TrainedFactors::Kronecker([first, second]) => TrainedFactors::Kronecker([first.scaled(scale), second]),
        };
        Self { factors, alpha: self.rank as f64, ..self }
    }

    /// Whether alpha means something to readers: a Kronecker product of two whole matrices has no rank to divide it by.
    ///
    /// Reference: LyCORIS `modules/lokr.py#L209-L217`.
    pub(super) fn has_scale(&self) -> bool {
        !matches!(&self.factors, TrainedFactors::Kronecker([KroneckerFactor::Whole(_), KroneckerFactor::Whole(_)]))
    }
}

impl KroneckerFactor {
    fn scaled(self, scale: f64) -> Self {
        match self {
            Self::Whole(whole) => Self::Whole(whole.mul_scalar(scale)),
            Self::Product { up, down } => Self::Product { up: up.mul_scalar(scale), down },
        }
    }

    /// Rows and columns of the factor.
    pub(super) fn dims(&self) -> [usize; 2] {
        match self {
            Self::Whole(whole) => whole.dims(),
            Self::Product { up, down } => [up.dims()[0], down.dims()[1]],
        }
    }
}
