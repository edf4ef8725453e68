//! Operations with a generic body in Burn operations, and faster ones for Burn's CPU backend (feature `flex`).

mod activation;
mod attending;
mod attention;
mod cast;
mod convolution;
mod epilogue;
#[cfg(feature = "flex")]
mod flex;
mod frozen_product;
mod join;
#[cfg(feature = "flex")]
mod large_buffer;
mod linear;
mod low_rank;
mod norms;
mod products;
#[cfg(all(feature = "flex", feature = "autodiff"))]
mod recorded;
mod rotations;
mod score_probe;
mod unpack;

pub use activation::Activation;
pub use attending::Attending;
pub use attention::{AttentionOptions, attention};
pub use cast::cast;
pub use convolution::{Convolution, group_norm};
pub(crate) use epilogue::Epilogue;
pub use epilogue::HeadNorm;
pub use frozen_product::frozen_product;
pub(crate) use frozen_product::is_differentiated;
#[cfg(feature = "autodiff")]
pub use frozen_product::widen_again_on;
pub use join::join_features;
pub(crate) use linear::{Linear, StoredMatrix, linear};
#[cfg(all(feature = "flex", feature = "autodiff"))]
pub(crate) use linear::{StoredValues, recorded_linear};
pub use low_rank::LowRank;
pub use norms::{layer_norm, modulated_norm, rms_norm};
pub use products::Products;
pub use rotations::Rotations;
pub use score_probe::largest_scores;
pub use unpack::unpack;

/// Give memory that is kept between operations back to the operating system. It comes again when needed.
///
/// Operations keep what they need besides their results, and the memory of results that nobody needs any more, since fresh
/// memory costs more time than many an operation. Call this when a network is done.
pub fn release_memory() {
    #[cfg(feature = "flex")]
    large_buffer::release_memory();
}
