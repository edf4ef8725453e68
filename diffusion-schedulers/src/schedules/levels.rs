//! Sequences of numbers that several schedules are made of.

use diffusion_core::{ScheduleError, Sigmas};

/// `num` evenly spaced numbers from `first` on, the last one being `last`; only `first` if there is one.
pub(super) fn linspace(first: f64, last: f64, num: usize) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator {
    (0..num).map(move |i| match i {
        0 => first,
        _ if i + 1 == num => last,
        _ => first + (last - first) * i as f64 / (num - 1) as f64,
    })
}

/// Levels with the zero that most schedules end in. Without any level there is no run.
pub(super) fn ending_in_zero(levels: impl Iterator<Item = f64>) -> Result<Sigmas, ScheduleError> {
    Sigmas::new(levels.chain([0.0]).collect())
}

#[cfg(test)]
pub(super) fn assert_close(found: &Sigmas, expected: &[f64]) {
    assert_eq!(found.as_slice().len(), expected.len(), "{found:?}");
    for (found, expected) in found.as_slice().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}
