//! How much memory a training run will take, before anything is loaded.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use diffusion_core::Residency;
use diffusion_core::weights::PatchWeights;
use diffusion_lora::train::{OptimizerSettings, TrainedAdapter, trainable_layers};
use diffusion_models::components::{CLIP_G, CLIP_L, Stage, TRANSFORMER};
use diffusion_models::{Pipeline, Plan, Settings};

use super::bucket::Bucket;

/// What the memory of a run depends on, besides the model.
#[derive(Clone, Copy, Debug)]
pub struct MemoryFactors {
    /// The bucket with most pixels.
    pub bucket: Bucket,
    /// Pictures of a batch, class pictures counted.
    pub batch_size: usize,
    /// Tokens of captions that T5 sees.
    pub max_sequence_length: usize,
    /// Blocks whose graphs are kept besides the one that is at work.
    pub kept_graphs: usize,
    /// Whether CLIP text encoders are trained along, and stay in memory.
    pub text_encoders: bool,
    /// Numbers that are trained.
    pub trained: usize,
    /// What the optimiser keeps for each of them, in numbers.
    pub optimizer_numbers: usize,
}

impl MemoryFactors {
    /// Of these adapters with this optimiser.
    pub fn of_adapters(self, adapters: &[TrainedAdapter], optimizer: &OptimizerSettings) -> Self {
        let trained = adapters.iter().map(TrainedAdapter::num_elements).sum();
        let optimizer_numbers = match optimizer {
            OptimizerSettings::AdamW(_) => 2,
            OptimizerSettings::Prodigy(_) => 4,
            // A row and a column, of Adafactor; a moment, of Lion.
            _ => 1,
        };
        Self { trained, optimizer_numbers, ..self }
    }
}

/// Memory of a training run by its stages, in bytes. An estimate: weights are counted exactly, activations by their number, which
/// was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// To encode captions and pictures; nothing of it stays.
    pub encoding: StageMemory,
    /// The denoising network while it is trained, and CLIP text encoders that are.
    pub weights: StageMemory,
    /// Blocks of the denoising network.
    pub blocks: usize,
    /// What goes into each block, kept for the backward pass.
    pub block_inputs: usize,
    /// Intermediate results of the blocks at work, with their gradients.
    pub graph: usize,
    /// Those of one more block, if its graph is kept.
    pub kept_graph: usize,
    /// Adapters, their gradients, and what the optimiser keeps.
    pub adapters: usize,
}

/// Memory of a stage, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageMemory {
    /// With all weights in memory.
    pub resident: usize,
    /// With blocks read from their file whenever they are needed.
    pub streamed: usize,
}

impl StageMemory {
    fn with(&self, residency: Residency) -> usize {
        match residency {
            Residency::Streamed => self.streamed,
            _ => self.resident,
        }
    }
}

/// Tensors as large as the tokens that live at once while a block is run with its graph and gradients flow back through it: the
/// measured peaks of both families lie 5 % around it.
const LIVE: usize = 48;
/// Those of a graph that is kept.
const LIVE_IN_KEPT_GRAPH: usize = 15;

impl MemoryPlan {
    /// The plan of a run with the model of a pipeline.
    pub fn new(pipeline: &Pipeline, factors: &MemoryFactors) -> Self {
        let info = pipeline.info();
        let MemoryFactors { bucket, batch_size, max_sequence_length, kept_graphs, text_encoders, trained, optimizer_numbers } =
            *factors;
        let settings = Settings { width: bucket.width, height: bucket.height, max_sequence_length, ..info.defaults.clone() };
        let plan = pipeline.plan(&settings, batch_size);
        let tokens = info.geometry.tokens(&settings) + info.clip_tokens + max_sequence_length;
        let of_tokens = [tokens, info.hidden_size, batch_size, size_of::<f32>()].into_iter().fold(1, usize::saturating_mul);
        let (transformer, blocks) = (plan.component(TRANSFORMER), num_blocks(pipeline));
        let clips = if text_encoders {
            [CLIP_L, CLIP_G].map(|id| plan.component(id).map_or(0, |clip| clip.weights)).iter().sum()
        } else {
            0
        };
        let of_stage = |stage| stage_memory(&plan, stage);
        let (text, pictures) = (of_stage(Stage::Text), of_stage(Stage::Decode));
        Self {
            encoding: StageMemory {
                resident: text.resident.max(pictures.resident),
                streamed: text.streamed.max(pictures.streamed),
            },
            weights: StageMemory {
                resident: clips + transformer.map_or(0, |transformer| transformer.weights),
                streamed: clips + transformer.map_or(0, |transformer| transformer.weights_streamed),
            },
            blocks,
            block_inputs: blocks.saturating_mul(of_tokens),
            graph: of_tokens.saturating_mul(LIVE + LIVE_IN_KEPT_GRAPH * kept_graphs.saturating_sub(1)),
            kept_graph: of_tokens.saturating_mul(LIVE_IN_KEPT_GRAPH),
            adapters: trained.saturating_mul((2 + optimizer_numbers) * size_of::<f32>()),
        }
    }

    /// Most memory at once.
    pub fn peak(&self, residency: Residency) -> usize {
        self.training(residency).max(self.encoding.with(residency))
    }

    /// Memory while steps are taken.
    pub fn training(&self, residency: Residency) -> usize {
        let parts = [self.weights.with(residency), self.block_inputs, self.graph, self.adapters];
        parts.into_iter().fold(0, usize::saturating_add)
    }
}

/// Weights and activations of a stage.
fn stage_memory(plan: &Plan, stage: Stage) -> StageMemory {
    let components = plan.components.iter().filter(|component| component.stage == stage);
    let working = components.clone().map(|component| component.working).max().unwrap_or(0);
    let (resident, streamed) = components.fold((working, working), |(resident, streamed), component| {
        (resident.saturating_add(component.weights), streamed.saturating_add(component.weights_streamed))
    });
    StageMemory { resident, streamed }
}

/// How many blocks the denoising network has.
fn num_blocks(pipeline: &Pipeline) -> usize {
    let targets = pipeline.patch_targets();
    let layers = targets.iter().filter(|target| target.component == TRANSFORMER).flat_map(trainable_layers);
    let block = |module: String| module.split('.').take(2).map(str::to_owned).collect::<Vec<String>>();
    layers.map(|layer| block(layer.module)).collect::<BTreeSet<_>>().len()
}

impl Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = |bytes: usize| bytes as f64 / 1e9;
        let Self { encoding, weights, block_inputs, graph, adapters, .. } = self;
        writeln!(f, "{:46} {:>12} {:>12}", "", "in memory", "streamed")?;
        let stages = [("encoding captions and pictures, at the start", encoding), ("weights of the denoising network", weights)];
        for (name, StageMemory { resident, streamed }) in stages {
            writeln!(f, "{name:46} {:>9.2} GB {:>9.2} GB", gigabytes(*resident), gigabytes(*streamed))?;
        }
        let parts =
            [("inputs of blocks", block_inputs), ("a block with its gradients", graph), ("adapters and optimiser", adapters)];
        for (name, bytes) in parts {
            writeln!(f, "{name:46} {0:>9.2} GB {0:>9.2} GB", gigabytes(*bytes))?;
        }
        let [resident, streamed] = [Residency::Resident, Residency::Streamed].map(|residency| gigabytes(self.peak(residency)));
        write!(f, "{:46} {resident:>9.2} GB {streamed:>9.2} GB", "at most at once")
    }
}
