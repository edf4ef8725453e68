//! Large inputs in overlapping tiles, with linear transitions between the results.

use std::panic::resume_unwind;
use std::thread;

use burn::tensor::{DType, Tensor, TensorData};

/// How an input is cut up, in its own units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Side of a tile.
    pub size: usize,
    /// What a tile shares with its neighbour, of its side.
    pub overlap: usize,
    /// How many of them are worked on at once, each by a thread of its own. Each takes the memory of one.
    pub at_once: usize,
}

impl Tiles {
    /// Apply `network` to every tile and join the results, of which two rows are kept at a time. In one piece if no side is longer.
    /// The result does not depend on how many are worked on at once.
    ///
    /// # Shapes
    /// - input: `[batch, channels, height, width]`; result: as `network` gives, every side in the same proportion
    /// # Panics
    /// If tiles have no size.
    pub fn map(&self, input: Tensor<4>, network: impl Fn(Tensor<4>) -> Tensor<4> + Sync) -> Tensor<4> {
        assert!(self.size > 0, "tiles have no size");
        let [_, _, height, width] = input.dims();
        if height <= self.size && width <= self.size {
            return network(input);
        }
        let stride = self.size - self.overlap;
        let (mut above, mut bands): (Vec<Tensor<4>>, _) = (Vec::new(), Vec::new());
        for top in (0..height).step_by(stride) {
            let band = part(&input, 2, top, self.size);
            let inputs: Vec<_> = (0..width).step_by(stride).map(|left| part(&band, 3, left, self.size)).collect();
            let widths: Vec<usize> = inputs.iter().map(|tile| tile.dims()[3]).collect();
            let (mut row, mut kept): (Vec<Tensor<4>>, _) = (Vec::new(), Vec::new());
            for (column, (mut tile, width_in)) in self.apply(inputs, &network).into_iter().zip(widths).enumerate() {
                let width_out = tile.dims()[3];
                let in_output = |len: usize| len * width_out / width_in;
                if let Some(above) = above.get(column) {
                    tile = blend(above, &tile, 2, in_output(self.overlap));
                }
                if let Some(left) = row.last() {
                    tile = blend(left, &tile, 3, in_output(self.overlap));
                }
                kept.push(part(&part(&tile, 2, 0, in_output(stride)), 3, 0, in_output(stride)));
                row.push(tile);
            }
            bands.push(Tensor::cat(kept, 3));
            above = row;
        }
        Tensor::cat(bands, 2)
    }

    /// What `network` gives for each tile.
    fn apply(&self, tiles: Vec<Tensor<4>>, network: &(impl Fn(Tensor<4>) -> Tensor<4> + Sync)) -> Vec<Tensor<4>> {
        if self.at_once <= 1 {
            return tiles.into_iter().map(network).collect();
        }
        let of_thread = |result: thread::Result<Tensor<4>>| result.unwrap_or_else(|panic| resume_unwind(panic));
        let together = |tiles: &[Tensor<4>]| {
            thread::scope(|scope| {
                let threads: Vec<_> = tiles.iter().map(|tile| scope.spawn(|| network(tile.clone()))).collect();
                threads.into_iter().map(|thread| of_thread(thread.join())).collect::<Vec<_>>()
            })
        };
        tiles.chunks(self.at_once).flat_map(together).collect()
    }
}

/// At most `len` elements of `axis` from `start` on.
fn part(tensor: &Tensor<4>, axis: usize, start: usize, len: usize) -> Tensor<4> {
    let len = len.min(tensor.dims()[axis] - start);
    tensor.clone().narrow(axis, start, len)
}

/// `tile`, whose first `extent` elements along `axis` pass from the last ones of `before` to its own.
fn blend(before: &Tensor<4>, tile: &Tensor<4>, axis: usize, extent: usize) -> Tensor<4> {
    let (len_before, len) = (before.dims()[axis], tile.dims()[axis]);
    let extent = extent.min(len_before).min(len);
    if extent == 0 {
        return tile.clone();
    }
    let mut shape = [1; 4];
    shape[axis] = extent;
    let weights: Vec<f32> = (0..extent).map(|i| i as f32 / extent as f32).collect();
    let weight = Tensor::<4>::from_data(TensorData::new(weights, shape), (&tile.device(), DType::F32)).cast(tile.dtype());
    let transition =
        part(before, axis, len_before - extent, extent) * (-weight.clone() + 1.0) + part(tile, axis, 0, extent) * weight;
    if extent == len { transition } else { Tensor::cat(vec![transition, part(tile, axis, extent, len)], axis) }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_transition_starts_at_the_neighbour() {
        let device = Device::flex();
        let row = |values: [f32; 4]| Tensor::<1>::from_floats(values, &device).reshape([1, 1, 1, 4]);
        let blended = blend(&row([9.0, 9.0, 4.0, 4.0]), &row([0.0; 4]), 3, 2);
        assert_eq!(blended.into_data().try_to_vec::<f32>().unwrap(), [4.0, 2.0, 0.0, 0.0]);
    }
}
