//! Which pictures on the way are sent.

use crate::jobs::Preview;

/// Which pictures on the way are sent: as many as are wanted of every image, spread over its steps. Where previews come seldom,
/// they are fewer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partials {
    wanted: usize,
    /// The image that is drawn, counted from 1.
    image: usize,
    /// Pictures of it that were sent.
    sent: usize,
    /// The step after which the last one was made.
    last_step: usize,
}

impl Partials {
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, image: 1, sent: 0, last_step: 0 }
    }

    /// The index of a preview among those of its image, if it is to be sent. It then counts as sent.
    pub(super) fn take(&mut self, preview: &Preview, steps: usize) -> Option<usize> {
        self.take_step(preview.image, preview.step, steps)
    }

    fn take_step(&mut self, image: usize, step: usize, steps: usize) -> Option<usize> {
        if self.image != image {
            *self = Self { image, ..Self::new(self.wanted) };
        }
        let Self { wanted, sent, last_step, .. } = *self;
        let is_due = sent < wanted && step > last_step && step * (wanted + 1) >= (sent + 1) * steps;
        if !is_due {
            return None;
        }
        (self.sent, self.last_step) = (sent + 1, step);
        Some(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_spread_over_the_steps() {
        let sent = |steps: usize, wanted: usize| {
            let mut partials = Partials::new(wanted);
            (1..steps).filter(|&step| partials.take_step(1, step, steps).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(sent(28, 3), [7, 14, 21]);
        assert_eq!(sent(28, 1), [14]);
        assert_eq!(sent(28, 0), [0; 0]);
        assert_eq!(sent(3, 3), [1, 2]);
    }

    #[test]
    fn none_is_sent_twice_and_every_image_begins_anew() {
        let mut partials = Partials::new(3);
        let taken = [(1, 20), (1, 20), (1, 25), (2, 1), (2, 8), (2, 8)].map(|(image, step)| partials.take_step(image, step, 28));
        assert_eq!(taken, [Some(0), None, Some(1), None, Some(0), None]);
    }
}
