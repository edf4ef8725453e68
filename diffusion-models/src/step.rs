//! Where in a run a network is evaluated.

/// Where in a run a network is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Index of the step, from 0.
    pub index: usize,
    /// Number of steps of the run.
    pub num_steps: usize,
    /// Noise level.
    pub sigma: f64,
}
