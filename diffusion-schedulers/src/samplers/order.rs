//! Settings that the multistep samplers share.

/// Order of accuracy: the error of a whole run falls with this power of the steps' length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SolverOrder {
    /// Like Euler's method.
    First = 1,
    /// The usual choice.
    Second = 2,
    /// Needs smooth velocities: without guidance, or with little of it.
    Third = 3,
}

impl SolverOrder {
    /// The highest order that a multistep method can have after this many steps.
    pub(super) fn after(num_steps: usize) -> Self {
        match num_steps {
            0 => Self::First,
            1 => Self::Second,
            _ => Self::Third,
        }
    }
}

/// Form of a step of second order from data predictions: the weight of the image's slope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SolverType {
    /// As if the slope applied from the middle of the step on.
    Midpoint,
    /// By the exact integral of a straight line.
    Heun,
}

/// Order of the last steps of a multistep sampler, for runs that do not end at zero; a step to zero is of first order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastSteps {
    /// First order for the last one and at most second for the one before, in runs of fewer than 15 steps: steadier.
    LowerOfFew,
    /// First order for the last one.
    Euler,
    /// As all others.
    Full,
}
