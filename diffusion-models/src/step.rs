//! Where in a run a network is evaluated.

/// Where in a run a network is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// Index of the step, from 0.
    pub(crate) index: usize,
    /// Number of steps of the run.
    pub(crate) num_steps: usize,
    /// Noise level.
    pub(crate) sigma: f64,
}
