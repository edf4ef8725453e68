//! Joining the numbers of tokens.

use burn::tensor::Tensor;

/// The numbers of each token of `first`, followed by those of `second`.
///
/// # Shapes
/// - first: `[batch, len, m]`, second: `[batch, len, n]`, result: `[batch, len, m + n]`
pub fn join_features(first: Tensor<3>, second: Tensor<3>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if let Some(joined) = flex::joined(&first, &second) {
        return joined;
    }
    Tensor::cat(vec![first, second], 2)
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::Tensor;
    use rayon::prelude::*;

    use crate::ops::flex::{contiguous, numbers};
    use crate::ops::large_buffer::filled_f32;

    /// On all cores; `None` where the general way must do.
    pub(super) fn joined(first: &Tensor<3>, second: &Tensor<3>) -> Option<Tensor<3>> {
        let ([batch, len, m], [_, _, n]) = (first.dims(), second.dims());
        if second.dims()[..2] != [batch, len] || m == 0 || n == 0 {
            return None;
        }
        let (left, right) = (contiguous(first)?, contiguous(second)?);
        let (left, right) = (numbers(&left)?, numbers(&right)?);
        Some(filled_f32([batch, len, m + n], &first.device(), |out| {
            let rows = out.par_chunks_mut(m + n).zip(left.par_chunks(m)).zip(right.par_chunks(n));
            rows.with_min_len(16).for_each(|((out, left), right)| {
                out[..m].copy_from_slice(left);
                out[m..].copy_from_slice(right);
            });
        }))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    #[test]
    fn features_follow_one_another() {
        let device = Device::flex();
        let random = |width| Tensor::<3>::random([2, 5, width], Distribution::Default, &device);
        let (first, second) = (random(3), random(4));
        let joined = flex::joined(&first, &second).expect("a way for f32");
        assert_eq!(joined.into_data(), Tensor::cat(vec![first, second], 2).into_data());
    }
}
