//! Listening to the blocks of a network: to find the one that spoils a picture, and to leave out what is known.

use burn::tensor::{DType, Tensor};

/// Hears of what a network computes inside.
pub(crate) trait Watch {
    /// The named result, of any shape.
    fn see<const D: usize>(&mut self, place: &dyn Fn() -> String, result: &Tensor<D>);

    /// What the blocks after the first one will add to the image tokens, if it is known. Asked after the first block, with
    /// the tokens before and after it.
    fn rest_after_first(&mut self, _before: &Tensor<3>, _after: &Tensor<3>) -> Option<Tensor<3>> {
        None
    }

    /// Hears of the image tokens after the first and after the last block, where the rest was not known.
    fn learn_rest(&mut self, _after_first: &Tensor<3>, _last: &Tensor<3>) {}
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
