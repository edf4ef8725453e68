//! Operations with a generic body in Burn operations, and faster ones for Burn's CPU backend (feature `flex`).

mod activation;
mod attention;
mod cast;
#[cfg(feature = "flex")]
mod large_buffer;
mod low_rank;
mod unpack;

pub use activation::{gelu_erf, gelu_quick, gelu_tanh};
pub use attention::{AttentionOptions, attention};
pub use cast::cast;
pub use low_rank::LowRank;
pub use unpack::unpack;
