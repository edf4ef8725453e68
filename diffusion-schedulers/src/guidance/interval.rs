//! Guidance at some noise levels only.

/// Noise levels at which to guide: above `start`, up to and including `end`. Outside them the velocity under the prompt is
/// used alone, which saves half of the work.
///
/// At high noise guidance makes images alike, at low noise it has no effect.
///
/// Reference: arXiv 2404.07724.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct GuidanceInterval {
    /// Guide above this σ.
    pub start: f64,
    /// Guide up to and including this σ.
    pub end: f64,
}

impl GuidanceInterval {
    /// Whether to guide at this level.
    pub fn applies_to(&self, sigma: f64) -> bool {
        sigma > self.start && sigma <= self.end
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
    fn the_end_is_inside_and_the_start_outside() {
        let interval = GuidanceInterval { start: 0.2, end: 0.8 };
        assert_eq!([1.0, 0.8, 0.5, 0.2].map(|sigma| interval.applies_to(sigma)), [false, true, true, false]);
        assert!(interval.scale_at(0.5, 4.5) > 4.0 && interval.scale_at(1.0, 4.5) < 1.1);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn an_interval_is_read_back_and_unknown_fields_are_refused() {
        let interval = GuidanceInterval { start: 0.25, end: 0.75 };
        let json = serde_json::to_string(&interval).unwrap();
        assert_eq!(json, r#"{"start":0.25,"end":0.75}"#);
        assert_eq!(serde_json::from_str::<GuidanceInterval>(&json).unwrap(), interval);
        let error = serde_json::from_str::<GuidanceInterval>(r#"{"start":0.25,"end":0.75,"stop":1}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `stop`"), "{error}");
    }
}
