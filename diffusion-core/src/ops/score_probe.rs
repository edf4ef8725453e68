//! How large attention's scores get.

use std::cell::RefCell;

use burn::tensor::Tensor;

use super::attending::Attending;

thread_local! {
    static SCORES: RefCell<Option<Vec<f32>>> = const { RefCell::new(None) };
}

/// Run `work`, and give the largest score, in magnitude, of each [`attention`](super::attention()) that it computes in this thread.
///
/// Scores that grow without end are how training breaks first, and what does not fit into half precision. The probe computes all
/// of them, so it takes memory and time; where there is none, attention does nothing more than before.
pub fn largest_scores<R>(work: impl FnOnce() -> R) -> (R, Vec<f32>) {
    SCORES.set(Some(Vec::new()));
    let result = work();
    (result, SCORES.take().unwrap_or_default())
}

/// Note the largest score of these segments, if somebody wants to know.
pub(super) fn note(segments: &[Attending], num_heads: usize, scale: Option<f64>) {
    if SCORES.with_borrow(Option::is_none) {
        return;
    }
    let heads = |of: fn(&Attending) -> &Tensor<3>| {
        let all = segments.iter().map(|segment| of(segment).clone().without_autodiff()).collect();
        let all: Tensor<3> = Tensor::cat(all, 1);
        let [batch, len, width] = all.dims();
        all.reshape([batch, len, num_heads, width / num_heads]).swap_dims(1, 2)
    };
    let (queries, keys): (Tensor<4>, Tensor<4>) = (heads(|of| &of.query), heads(|of| &of.key));
    let scale = scale.unwrap_or_else(|| (queries.dims()[3] as f64).sqrt().recip());
    let largest = queries.matmul(keys.swap_dims(2, 3)).abs().max().mul_scalar(scale).into_scalar::<f32>();
    SCORES.with_borrow_mut(|scores| scores.iter_mut().for_each(|scores| scores.push(largest)));
}
