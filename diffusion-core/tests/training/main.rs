//! Weights on a device with autodiff: factors that are trained, and everything else that is not.

mod factors;
mod memory;
mod network;
