//! Finding the block that spoils a picture.

use burn::tensor::{DType, Tensor};

/// Hears of what a network computes inside.
pub(crate) trait Watch {
    /// The named result, of any shape.
    fn see<const D: usize>(&mut self, place: &dyn Fn() -> String, result: &Tensor<D>);
}

/// Watches nothing, at no cost.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn see<const D: usize>(&mut self, _: &dyn Fn() -> String, _: &Tensor<D>) {}
}

/// Remembers the first place where a number is infinite or undefined.
#[derive(Default)]
pub(crate) struct FirstNotFinite {
    place: Option<String>,
}

impl FirstNotFinite {
    pub(crate) fn place(self) -> Option<String> {
        self.place
    }
}

impl Watch for FirstNotFinite {
    fn see<const D: usize>(&mut self, place: &dyn Fn() -> String, result: &Tensor<D>) {
        let sum = || result.clone().cast(DType::F32).abs().sum().into_scalar::<f32>();
        if self.place.is_none() && !sum().is_finite() {
            self.place = Some(place());
        }
    }
}
