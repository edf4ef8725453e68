//! Operations with a generic body in Burn operations, and faster ones for Burn's CPU backend (feature `flex`).

mod activation;
mod attention;
mod cast;
mod convolution;
mod frozen_product;
#[cfg(feature = "flex")]
mod large_buffer;
mod linear;
mod low_rank;
mod unpack;

pub use activation::{gelu_erf, gelu_quick, gelu_tanh};
pub use attention::{AttentionOptions, attention};
pub use cast::cast;
pub use convolution::{Convolution, group_norm};
pub use frozen_product::frozen_product;
pub(crate) use frozen_product::is_differentiated;
#[cfg(feature = "autodiff")]
pub use frozen_product::widen_again_on;
pub(crate) use linear::{StoredMatrix, linear};
pub use low_rank::LowRank;
pub use unpack::unpack;
