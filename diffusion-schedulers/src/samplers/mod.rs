//! Samplers: values that integrate a velocity field along given noise levels.

mod euler;

pub use euler::Euler;
