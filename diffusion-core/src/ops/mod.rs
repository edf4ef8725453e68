//! Operations with a generic body in Burn operations, and faster ones for Burn's CPU backend (feature `flex`).

mod activation;
mod attention;
mod cast;
mod unpack;

pub use activation::{gelu_erf, gelu_quick, gelu_tanh};
pub use attention::{AttentionOptions, attention};
pub use cast::cast;
pub use unpack::unpack;
