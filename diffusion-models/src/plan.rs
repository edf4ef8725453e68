//! How much memory a run will take, before anything is loaded.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::{Precision, Residency};

use crate::settings::{GuidanceEvaluation, Settings};

/// Memory of a run by its parts, in bytes. An estimate: weights are counted exactly, activations by their widest layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The parts of the model, in the order in which they work.
    pub parts: Vec<PlannedPart>,
    /// Most memory at once if all weights of a stage stay in memory.
    pub peak_resident: usize,
    /// Most memory at once if the large networks are streamed from their files.
    pub peak_streamed: usize,
}

/// One part of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPart {
    /// What it is.
    pub name: &'static str,
    /// Stage in which it is in memory.
    pub stage: Stage,
    /// Its weights, as stored.
    pub weights: usize,
    /// Its weights when streamed: what is outside of blocks, and the two largest blocks' worth; all of a small part.
    pub weights_streamed: usize,
    /// Activations, and the widest matrix at the width it computes in.
    pub working: usize,
}

/// The stages of a run; the parts of one stage are in memory together, those of different stages are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Encoding the prompt.
    Text,
    /// Denoising.
    Denoise,
    /// Decoding the picture.
    Decode,
}

impl PlannedPart {
    /// A part whose matrices stay as they are in the file.
    pub(crate) fn new(
        name: &'static str,
        stage: Stage,
        checkpoint: &Checkpoint,
        precision: Precision,
        activations: usize,
    ) -> Self {
        let compute_size = burn::tensor::DType::from(precision.compute).size();
        let mut blocks: BTreeMap<&str, usize> = BTreeMap::new();
        let mut outside = 0;
        let mut widest = 0;
        for (tensor_name, tensor) in checkpoint.tensors() {
            match block_of(tensor_name) {
                Some(block) => *blocks.entry(block).or_default() += tensor.num_bytes(),
                None => outside += tensor.num_bytes(),
            }
            if tensor.shape().len() == 2 {
                widest = widest.max(tensor.shape().iter().product::<usize>() * compute_size);
            }
        }
        let weights = checkpoint.num_bytes();
        let largest = blocks.values().copied().max().unwrap_or(0);
        let weights_streamed = weights.min(outside + 2 * largest);
        Self { name, stage, weights, weights_streamed, working: activations + widest }
    }

    /// A part that is never streamed.
    pub(crate) fn kept(self) -> Self {
        Self { weights_streamed: self.weights, ..self }
    }

    /// A part that is small enough to be converted to the compute type as a whole.
    pub(crate) fn converted(
        name: &'static str,
        stage: Stage,
        checkpoint: &Checkpoint,
        precision: Precision,
        activations: usize,
    ) -> Self {
        let compute_size = burn::tensor::DType::from(precision.compute).size();
        let numbers: usize = checkpoint.tensors().map(|(_, tensor)| tensor.shape().iter().product::<usize>()).sum();
        let weights = numbers * compute_size;
        Self { name, stage, weights, weights_streamed: weights, working: activations }
    }
}

/// The name up to its first index: tensors that share it belong to one block.
fn block_of(name: &str) -> Option<&str> {
    let mut end = 0;
    for segment in name.split('.') {
        end += segment.len();
        if segment.bytes().all(|b| b.is_ascii_digit()) {
            return Some(&name[..end]);
        }
        end += 1;
    }
    None
}

impl Plan {
    pub(crate) fn new(parts: Vec<PlannedPart>) -> Self {
        let peak = |weights: fn(&PlannedPart) -> usize| {
            let of_stage = |stage| {
                let parts = parts.iter().filter(|part| part.stage == stage);
                let working = parts.clone().map(|part| part.working).max().unwrap_or(0);
                parts.map(weights).sum::<usize>() + working
            };
            [Stage::Text, Stage::Denoise, Stage::Decode].map(of_stage).into_iter().max().unwrap_or(0)
        };
        let (peak_resident, peak_streamed) = (peak(|part| part.weights), peak(|part| part.weights_streamed));
        Self { parts, peak_resident, peak_streamed }
    }

    /// What to do with `available` bytes of memory: keep weights if they fit, stream them if not.
    pub fn residency(&self, available: usize) -> Residency {
        if self.peak_resident <= available { Residency::Resident } else { Residency::Streamed }
    }
}

/// Bytes of the activations of a transformer: its tokens at four times the hidden size and at the hidden size some times
/// over, twice for batched guidance, for every picture of a batch.
pub(crate) fn transformer_activations(tokens: usize, hidden_size: usize, settings: &Settings) -> usize {
    /// Tensors of the hidden size that live together around the feed-forward layer, its inner ones counted as four.
    const LIVE: usize = 16;
    let guided = settings.guidance_scale > 1.0 || settings.true_cfg_scale > 1.0;
    let batch = if guided && settings.guidance.evaluation == GuidanceEvaluation::Batched { 2 } else { 1 };
    settings.sampler_seeds.len().max(1) * batch * tokens * hidden_size * LIVE * size_of::<f32>()
}

/// Bytes of the activations of a decoder: the finest level's channels at the size of the picture, some times over.
pub(crate) fn decoder_activations(settings: &Settings) -> usize {
    const FINEST_CHANNELS: usize = 128;
    /// Input, output and workspace of a convolution, and the skip connection.
    const LIVE: usize = 5;
    settings.width * settings.height * FINEST_CHANNELS * LIVE * size_of::<f32>()
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = |bytes: usize| bytes as f64 / 1e9;
        writeln!(f, "{:14} {:>12} {:>12} {:>12}", "part", "weights", "streamed", "working")?;
        for part in &self.parts {
            let [weights, streamed, working] = [part.weights, part.weights_streamed, part.working].map(gigabytes);
            writeln!(f, "{:14} {weights:>9.2} GB {streamed:>9.2} GB {working:>9.2} GB", part.name)?;
        }
        let (resident, streamed) = (gigabytes(self.peak_resident), gigabytes(self.peak_streamed));
        write!(f, "at most {resident:.2} GB at once, {streamed:.2} GB with weights streamed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(stage: Stage, weights: usize) -> PlannedPart {
        PlannedPart { name: "part", stage, weights, weights_streamed: weights / 10, working: 1 }
    }

    #[test]
    fn the_peak_is_that_of_the_largest_stage() {
        let plan =
            Plan::new(vec![part(Stage::Text, 100), part(Stage::Text, 50), part(Stage::Denoise, 120), part(Stage::Decode, 20)]);
        assert_eq!((plan.peak_resident, plan.peak_streamed), (151, 16));
        assert_eq!((plan.residency(151), plan.residency(150)), (Residency::Resident, Residency::Streamed));
    }

    #[test]
    fn blocks_are_told_by_their_index() {
        assert_eq!(block_of("double_blocks.12.img_mlp.0.weight"), Some("double_blocks.12"));
        assert_eq!(block_of("final_layer.linear.weight"), None);
    }
}
