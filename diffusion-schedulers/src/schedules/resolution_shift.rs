//! The shift that FLUX.1-dev moves its noise levels by.

/// A shift towards noise that grows with the picture: `e^mu / (e^mu + 1/σ - 1)`, `mu` linear in the number of patches.
///
/// Reference: black-forest-labs/flux `sampling.py#L277-L302` at 802fb47; diffusers `pipeline_flux.py#L73`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResolutionShift {
    /// `mu` at either of the token counts.
    pub shifts: [f64; 2],
    /// Two numbers of patches (16 x 16 pixels each).
    pub token_counts: [usize; 2],
}

impl ResolutionShift {
    /// FLUX.1-dev's: 0.5 at 256 patches, 1.15 at 4096.
    pub fn flux() -> Self {
        Self { shifts: [0.5, 1.15], token_counts: [256, 4096] }
    }

    /// The shift for a number of patches.
    pub fn mu(&self, tokens: usize) -> f64 {
        let [low, high] = self.token_counts.map(|count| count as f64);
        let slope = (self.shifts[1] - self.shifts[0]) / (high - low);
        slope * tokens as f64 + self.shifts[0] - slope * low
    }

    /// The shifted level of `sigma` for a number of patches.
    pub fn apply(&self, sigma: f64, tokens: usize) -> f64 {
        let shift = self.mu(tokens).exp();
        shift / (shift + (1.0 / sigma - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that diffusers 0.42.1 computes.
    #[test]
    fn levels_are_those_of_the_reference() {
        let check = |tokens: usize, expected: [f64; 4]| {
            for (i, expected) in expected.into_iter().enumerate() {
                let found = ResolutionShift::flux().apply(1.0 - i as f64 / 4.0, tokens);
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        };
        check(4096, [1.0, 0.904_531, 0.759_511, 0.512_844]);
        check(1024, [1.0, 0.849_235, 0.652_489, 0.384_945]);
        check(256, [1.0, 0.831_824, 0.622_459, 0.354_661]);
    }
}
