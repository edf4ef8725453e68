//! Guidance where it helps only.

/// Noise levels at which to guide: outside them the velocity under the prompt is used alone, which saves half of the work.
///
/// At high noise guidance makes pictures alike, at low noise it has no effect.
///
/// Reference: arXiv 2404.07724.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuidanceInterval {
    /// Guide above this σ.
    pub above: f64,
    /// Guide up to this σ, included.
    pub up_to: f64,
}

impl GuidanceInterval {
    /// Whether to guide at this level.
    pub fn applies_to(&self, sigma: f64) -> bool {
        sigma > self.above && sigma <= self.up_to
    }

    /// The guidance scale at this level: `scale` inside, 1 (no guidance) outside.
    pub fn scale_at(&self, sigma: f64, scale: f64) -> f64 {
        if self.applies_to(sigma) { scale } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_end_is_inside_and_the_lower_one_outside() {
        let interval = GuidanceInterval { above: 0.2, up_to: 0.8 };
        assert_eq!([1.0, 0.8, 0.5, 0.2].map(|sigma| interval.applies_to(sigma)), [false, true, true, false]);
        assert!(interval.scale_at(0.5, 4.5) > 4.0 && interval.scale_at(1.0, 4.5) < 1.1);
    }
}
