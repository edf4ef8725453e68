//! How much memory a run will take, before anything is loaded.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use burn::tensor::{DType, Device};
use diffusion_core::Residency;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::network::Modulations;
use diffusion_core::weights::{ComponentId, ComponentPlace};

use crate::component_file::ComponentFile;
use crate::components::Stage;
use crate::model::ModelInfo;
use crate::network_config::WeightKeeping;
use crate::pipeline_options::PipelineOptions;
use crate::settings::{Settings, Tiling};
use diffusion_schedulers::guidance::GuidanceEvaluation;

/// Memory of a run by its components, in bytes. An estimate: weights are counted exactly, activations by their widest layer.
///
/// Where components are on several devices, [`on`](Self::on) gives the plan of one of them, which is the one to compare with the memory
/// that the device has free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The components of the model, in the order in which they work.
    pub components: Vec<PlannedComponent>,
    /// Most memory of a device at once if all weights of a stage stay in memory.
    pub peak_resident: usize,
    /// Most memory of a device at once if the large networks are streamed from their files.
    pub peak_streamed: usize,
}

/// A run that takes more memory than there is, even with its weights streamed from their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShortage {
    /// Bytes that it takes at once, by the estimate of its [`Plan`].
    pub needed: usize,
    /// Bytes that are free.
    pub available: usize,
}

/// One component of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedComponent {
    /// Which one it is.
    pub id: ComponentId,
    /// Stage in which it is in memory.
    pub stage: Stage,
    /// Where it is.
    pub device: Device,
    /// Its weights, as stored, but for those that are read when they are needed and given back.
    pub weights: usize,
    /// Its weights when streamed: what is outside of blocks, and the two largest blocks' worth; all of a small component.
    pub weights_streamed: usize,
    /// Activations, and the widest matrix at the width it computes in.
    pub working: usize,
}

impl PlannedComponent {
    /// A component whose activations take so many bytes, evaluated `evaluations` times.
    fn new(file: &dyn ComponentFile, place: ComponentPlace, activations: usize, evaluations: usize) -> Self {
        let (checkpoint, kept, component) = (file.checkpoint(), file.kept(), file.component());
        let ComponentPlace { device, precision, .. } = place;
        // Text encoders compute in f32 whatever the rest does.
        let compute = if component.stage == Stage::Text { precision.with_f32_compute() } else { precision }.compute;
        let compute_size = DType::from(compute).size();
        let (weights, weights_streamed, widest) = match file.keeping() {
            WeightKeeping::Converted => {
                let numbers = checkpoint.tensors().map(|(_, tensor)| tensor.shape().iter().product::<usize>()).sum::<usize>();
                (numbers * compute_size, numbers * compute_size, 0)
            }
            WeightKeeping::Whole => (kept.num_bytes(), kept.num_bytes(), widest_matrix(checkpoint)),
            WeightKeeping::Streamable => (kept.num_bytes(), streamed_bytes(&kept), widest_matrix(checkpoint)),
        };
        let modulations =
            biases(checkpoint).saturating_sub(biases(&kept)).saturating_mul(evaluations).saturating_mul(size_of::<f32>());
        let working = activations.saturating_add(widest * compute_size).saturating_add(modulations.min(Modulations::MOST_BYTES));
        Self { id: component.id, stage: component.stage, device, weights, weights_streamed, working }
    }
}

/// Numbers of the largest matrix.
fn widest_matrix(checkpoint: &Checkpoint) -> usize {
    let matrices = checkpoint.tensors().filter(|(_, tensor)| tensor.shape().len() == 2);
    matrices.map(|(_, tensor)| tensor.shape().iter().product()).max().unwrap_or(0)
}

/// Numbers of all vectors: of layers with biases, as many as the layers give for an image.
fn biases(checkpoint: &Checkpoint) -> usize {
    let vectors = checkpoint.tensors().filter(|(_, tensor)| tensor.shape().len() == 1);
    vectors.map(|(_, tensor)| tensor.shape()[0]).sum()
}

/// Bytes of what is outside of blocks, and of the two largest blocks.
fn streamed_bytes(checkpoint: &Checkpoint) -> usize {
    let mut blocks: BTreeMap<&str, usize> = BTreeMap::new();
    let mut outside = 0;
    for (name, tensor) in checkpoint.tensors() {
        match block_of(name) {
            Some(block) => *blocks.entry(block).or_default() += tensor.num_bytes(),
            None => outside += tensor.num_bytes(),
        }
    }
    let largest = blocks.values().copied().max().unwrap_or(0);
    checkpoint.num_bytes().min(outside + 2 * largest)
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

/// Bytes of a component on a device.
struct MemoryUse<D> {
    device: D,
    stage: Stage,
    weights: usize,
    working: usize,
}

/// Most bytes at once on a device: the components of a stage are there together, and work one after the other.
fn peak<D: PartialEq>(uses: &[MemoryUse<D>]) -> usize {
    let together = |with: &MemoryUse<D>| {
        let uses = uses.iter().filter(|other| other.stage == with.stage && other.device == with.device);
        let working = uses.clone().map(|other| other.working).max().unwrap_or(0);
        uses.map(|other| other.weights).fold(working, usize::saturating_add)
    };
    uses.iter().map(together).max().unwrap_or(0)
}

impl Plan {
    /// The plan of a model for `batch` images at once.
    pub(crate) fn new(
        files: &[&dyn ComponentFile],
        info: &ModelInfo,
        settings: &Settings,
        batch: usize,
        options: &PipelineOptions,
    ) -> Self {
        let activations = |stage| match stage {
            Stage::Text => 0,
            Stage::Denoise => transformer_activations(info, settings, batch),
            Stage::Decode => decoder_activations(settings),
        };
        let evaluations = settings.num_steps.saturating_mul(images_at_once(settings, batch));
        let planned = |file: &&dyn ComponentFile| {
            let place = options.loaded_place_of(*file);
            PlannedComponent::new(*file, place, activations(file.component().stage), evaluations)
        };
        Self::of(files.iter().map(planned).collect())
    }

    fn of(components: Vec<PlannedComponent>) -> Self {
        let peak = |weights: fn(&PlannedComponent) -> usize| {
            let uses = components.iter().map(|component| {
                let PlannedComponent { stage, working, ref device, .. } = *component;
                MemoryUse { device, stage, weights: weights(component), working }
            });
            peak(&uses.collect::<Vec<_>>())
        };
        let (peak_resident, peak_streamed) = (peak(|component| component.weights), peak(|component| component.weights_streamed));
        Self { components, peak_resident, peak_streamed }
    }

    /// The plan of the components on one device.
    #[must_use]
    pub fn on(&self, device: &Device) -> Self {
        Self::of(self.components.iter().filter(|component| component.device == *device).cloned().collect())
    }

    /// What to do with `available` bytes of memory: keep weights if they fit, stream them if not.
    pub fn residency(&self, available: usize) -> Residency {
        if self.peak_resident <= available { Residency::Resident } else { Residency::Streamed }
    }

    /// What is short with `available` bytes of memory if even streamed weights do not fit.
    pub fn shortage(&self, available: usize) -> Option<MemoryShortage> {
        (self.peak_streamed > available).then_some(MemoryShortage { needed: self.peak_streamed, available })
    }

    /// The plan of one component.
    pub fn component(&self, id: ComponentId) -> Option<&PlannedComponent> {
        self.components.iter().find(|component| component.id == id)
    }
}

/// Bytes of the activations of a transformer: its tokens at four times the hidden size and at the hidden size some times
/// over, twice for batched guidance, for every image of a batch.
fn transformer_activations(info: &ModelInfo, settings: &Settings, batch: usize) -> usize {
    /// Tensors of the hidden size that live together around the feed-forward layer, its inner ones counted as four.
    const LIVE: usize = 16;
    let text_tokens = settings.max_sequence_length.saturating_add(info.clip_tokens);
    let tokens = info.geometry.tokens(settings).saturating_add(text_tokens);
    let factors = [images_at_once(settings, batch), info.hidden_size, LIVE, size_of::<f32>()];
    factors.into_iter().fold(tokens, usize::saturating_mul)
}

/// Images in one evaluation of the transformer.
fn images_at_once(settings: &Settings, batch: usize) -> usize {
    let both = settings.is_guided() && settings.guidance.evaluation == GuidanceEvaluation::Batched;
    batch.max(1).saturating_mul(if both { 2 } else { 1 })
}

/// Bytes of the activations of a decoder: the finest level's channels at the size of the image, some times over.
fn decoder_activations(settings: &Settings) -> usize {
    const FINEST_CHANNELS: usize = 128;
    /// Side in pixels of the tiles of all published autoencoders.
    const TILE: usize = 1024;
    /// Input, output and workspace of a convolution, and the skip connection.
    const LIVE: usize = 5;
    let side = |side: usize| if settings.tiling == Tiling::Tiled { side.min(TILE) } else { side };
    let factors = [side(settings.height), FINEST_CHANNELS, LIVE, size_of::<f32>()];
    factors.into_iter().fold(side(settings.width), usize::saturating_mul)
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = |bytes: usize| bytes as f64 / 1e9;
        writeln!(f, "{:14} {:>12} {:>12} {:>12}", "component", "weights", "streamed", "working")?;
        for component in &self.components {
            let [weights, streamed, working] = [component.weights, component.weights_streamed, component.working].map(gigabytes);
            writeln!(f, "{:14} {weights:>9.2} GB {streamed:>9.2} GB {working:>9.2} GB", component.id)?;
        }
        let (resident, streamed) = (gigabytes(self.peak_resident), gigabytes(self.peak_streamed));
        write!(f, "at most {resident:.2} GB at once, {streamed:.2} GB with weights streamed")
    }
}

impl Display for MemoryShortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [needed, available] = [self.needed, self.available].map(|bytes| bytes as f64 / 1e9);
        write!(
            f,
            "even with weights streamed from their files the run takes about {needed:.1} GB of memory, and {available:.1} GB are \
             free: it will be slow or end early; draw fewer pixels or fewer images at once, decode in tiles, or take a smaller \
             number format"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(stage: Stage, weights: usize) -> PlannedComponent {
        let device = Device::flex();
        PlannedComponent { id: crate::components::VAE, stage, device, weights, weights_streamed: weights / 10, working: 1 }
    }

    #[test]
    fn the_peak_is_that_of_the_largest_stage() {
        let plan = Plan::of(
            [(Stage::Text, 100), (Stage::Text, 50), (Stage::Denoise, 120), (Stage::Decode, 20)]
                .map(|(stage, weights)| component(stage, weights))
                .into(),
        );
        assert_eq!((plan.peak_resident, plan.peak_streamed), (151, 16));
        assert_eq!((plan.residency(151), plan.residency(150)), (Residency::Resident, Residency::Streamed));
        assert_eq!((plan.shortage(16), plan.shortage(15)), (None, Some(MemoryShortage { needed: 16, available: 15 })));
    }

    #[test]
    fn a_component_on_another_device_takes_no_memory_of_the_first() {
        let of = |device, stage, weights| MemoryUse { device, stage, weights, working: 7 };
        let peak_of = |text, transformer, vae| {
            let text = [of(text, Stage::Text, 100), of("cpu", Stage::Text, 50)];
            peak(&text.into_iter().chain([of(transformer, Stage::Denoise, 120), of(vae, Stage::Decode, 20)]).collect::<Vec<_>>())
        };
        assert_eq!(peak_of("cpu", "cpu", "cpu"), 157);
        assert_eq!(peak_of("gpu", "cpu", "cpu"), 127);
        assert_eq!(peak_of("gpu", "gpu", "gpu"), 127);
        assert_eq!(peak::<&str>(&[]), 0);
    }

    #[test]
    fn a_shortage_says_how_much_is_needed_and_what_to_do() {
        let said = MemoryShortage { needed: 12_340_000_000, available: 8_000_000_000 }.to_string();
        assert!(said.contains("takes about 12.3 GB of memory, and 8.0 GB are free") && said.contains("fewer pixels"), "{said}");
    }

    #[test]
    fn blocks_are_told_by_their_index() {
        assert_eq!(block_of("double_blocks.12.img_mlp.0.weight"), Some("double_blocks.12"));
        assert_eq!(block_of("final_layer.linear.weight"), None);
    }
}
