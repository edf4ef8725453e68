//! Memory that kernels need besides what they are given, and slices that threads write parts of.

mod aligned;
mod disjoint;
mod scratch;

pub(crate) use disjoint::Disjoint;
pub use scratch::release_scratch;
pub(crate) use scratch::with_scratch;
