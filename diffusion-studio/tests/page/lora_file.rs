//! A LoRA for the miniature model.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

/// Blocks and width of the miniature's network.
const NUM_BLOCKS: usize = 8;
const HIDDEN_SIZE: usize = 128;
const RANK: usize = 4;
/// Enough to change a picture that everybody sees, too little to make it noise.
const SIZE: f32 = 0.8;

/// The word that the LoRA says it was trained on.
pub(crate) const TRIGGER: &str = "wobbly";

/// Write a LoRA of pseudorandom numbers on the values of each block's attention, in the names of diffusers.
pub(crate) fn write_lora(path: &Path) {
    let mut numbers = Numbers(1);
    let tensors: Vec<(String, [usize; 2], Vec<u8>)> = (0..NUM_BLOCKS)
        .flat_map(|block| [(block, "A", [RANK, HIDDEN_SIZE]), (block, "B", [HIDDEN_SIZE, RANK])])
        .map(|(block, factor, shape)| {
            let name = format!("transformer.transformer_blocks.{block}.attn.to_v.lora_{factor}.weight");
            (name, shape, (0..RANK * HIDDEN_SIZE).flat_map(|_| numbers.next().to_le_bytes()).collect())
        })
        .collect();
    let views =
        tensors.iter().map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    let metadata = HashMap::from([("modelspec.trigger_phrase".to_owned(), TRIGGER.to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path).unwrap();
}

/// A linear congruential generator with the numbers of Knuth's MMIX.
struct Numbers(u64);

impl Numbers {
    /// Between plus and minus [`SIZE`].
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0) * SIZE
    }
}
