//! Number formats: how the numbers of a tensor are stored in a file, how they become f32, and how f32 becomes them. On the
//! host alone, without tensors.

mod blocks;
mod number_format;

pub(crate) use blocks::iq::IQ4_NL_VALUES;
pub use number_format::{BlockSize, Format};
