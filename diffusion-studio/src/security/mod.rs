//! Who asks, and whether they may.

mod caller;
mod gate;
mod keys;
mod origin;
mod rates;
mod secret;

pub use caller::Caller;
pub(crate) use gate::gate;
pub use keys::{Keys, ReadKeysError};
pub(crate) use rates::JobRates;
pub(crate) use secret::Secret;
