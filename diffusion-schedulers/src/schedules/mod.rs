//! Noise schedules: numbers of steps to noise levels, on the host, without tensors.

mod flow_shift;
mod resolution_shift;

pub use flow_shift::FlowShift;
pub use resolution_shift::ResolutionShift;
