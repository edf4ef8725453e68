//! Noise schedules: numbers of steps to noise levels, on the host, without tensors.

mod flow_shift;

pub use flow_shift::FlowShift;
