//! The transformer as a whole.

use burn::module::Module;
use burn::tensor::{DType, Device, FloatDType, Tensor, activation};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError, PublishedNames};
use diffusion_core::projection::ProjectionConfig;
use diffusion_core::{LoadedNetwork, LoadedWeights, Precision, Projection, Residency, VelocityModel, ops};

use super::block::{DoubleBlock, SingleBlock};
use super::config::{DistilledGuidance, FluxConfig, PATCH_CHANNELS};
use super::{keys, patches};
use crate::layers::{ConditioningMlp, TIMESTEP_EMBEDDING_SIZE, modulated_norm, timestep_embedding};
use crate::step_cache::FirstBlockCache;
use crate::watch::{Unwatched, Watch};

/// FLUX.1's transformer.
///
/// Reference: black-forest-labs/flux `model.py#L84-L119` at 802fb47; diffusers `transformer_flux.py#L525` at 58eb52c.
#[derive(Module, Debug)]
pub struct FluxTransformer {
    image_projection: Projection,
    text_projection: Projection,
    timestep_embedding: ConditioningMlp,
    guidance_embedding: Option<ConditioningMlp>,
    pooled_embedding: ConditioningMlp,
    double_blocks: Vec<DoubleBlock>,
    single_blocks: Vec<SingleBlock>,
    final_modulation: Projection,
    final_projection: Projection,
    #[module(skip)]
    config: FluxConfig,
    #[module(skip)]
    compute: FloatDType,
    /// Where its weights come from; `None` if it was not loaded.
    #[module(skip)]
    weights: Option<LoadedWeights>,
}

/// Prefixes of the blocks' parameters.
const DOUBLE: &str = "double_blocks.";
const SINGLE: &str = "single_blocks.";

/// The encoded prompt.
#[derive(Clone, Debug)]
pub struct FluxConditioning {
    /// T5's tokens, `[batch, text_len, joint_attention_dim]`.
    pub text: Tensor<3>,
    /// CLIP-L's pooled embedding, `[batch, pooled_projection_dim]`.
    pub pooled: Tensor<2>,
    /// Distilled guidance of FLUX.1-dev; schnell does not look at it.
    pub distilled_guidance: f64,
}

impl FluxConditioning {
    /// Conditionings, of equal length and guidance, as one batch.
    ///
    /// # Panics
    /// If there are none.
    pub fn batched(parts: &[&Self]) -> Self {
        Self {
            text: Tensor::cat(parts.iter().map(|part| part.text.clone()).collect(), 0),
            pooled: Tensor::cat(parts.iter().map(|part| part.pooled.clone()).collect(), 0),
            distilled_guidance: parts[0].distilled_guidance,
        }
    }
}

impl FluxConfig {
    /// Make the transformer, without allocating; see [`FluxTransformer::load`].
    pub fn init(&self, compute: FloatDType, device: &Device) -> FluxTransformer {
        let hidden_size = self.hidden_size();
        let embedding = |size| ConditioningMlp::new(size, hidden_size, device);
        let guided = self.guidance == DistilledGuidance::Embedded;
        FluxTransformer {
            image_projection: ProjectionConfig::new(self.in_channels, hidden_size).init(device),
            text_projection: ProjectionConfig::new(self.joint_attention_dim, hidden_size).init(device),
            timestep_embedding: embedding(TIMESTEP_EMBEDDING_SIZE),
            guidance_embedding: guided.then(|| embedding(TIMESTEP_EMBEDDING_SIZE)),
            pooled_embedding: embedding(self.pooled_projection_dim),
            double_blocks: (0..self.num_double_layers).map(|_| DoubleBlock::new(self, device)).collect(),
            single_blocks: (0..self.num_single_layers).map(|_| SingleBlock::new(self, device)).collect(),
            final_modulation: ProjectionConfig::new(hidden_size, 2 * hidden_size).init(device),
            final_projection: ProjectionConfig::new(hidden_size, PATCH_CHANNELS).init(device),
            config: self.clone(),
            compute,
            weights: None,
        }
    }

    /// A checkpoint of either layout under the names of the transformer's parameters, any prefix already taken off.
    ///
    /// # Errors
    /// [`CheckpointError`] when a fused tensor has other rows than these sizes, or two names mean one weight.
    pub fn rename(&self, checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
        let map = keys::key_map(&checkpoint, self);
        checkpoint.named("a FLUX.1 transformer of this size").renamed(&map)
    }

    /// What published files of both layouts call the transformer's parameters.
    pub fn published_names(&self) -> PublishedNames {
        let names = PublishedNames::of(&self.init(FloatDType::F32, &Device::default()));
        keys::layouts(self).iter().fold(names, |names, layout| names.with_layout(layout, ""))
    }
}

impl FluxTransformer {
    /// Load a transformer from either layout, any prefix already taken off.
    ///
    /// # Errors
    /// [`CheckpointError`] when the checkpoint does not fit the configuration.
    pub fn load(
        checkpoint: Checkpoint,
        config: &FluxConfig,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<Self, CheckpointError> {
        let empty = config.init(precision.compute, device);
        let (loaded, weights) = LoadedWeights::load(config.rename(checkpoint)?, empty, &[DOUBLE, SINGLE], precision, residency)?;
        Ok(Self { weights: Some(weights), ..loaded })
    }

    fn with_double_block<R>(&self, index: usize, device: &Device, work: impl FnOnce(&DoubleBlock) -> R) -> R {
        let Some(weights) = self.weights.as_ref().filter(|weights| weights.is_streamed()) else {
            return work(&self.double_blocks[index]);
        };
        let next = if index + 1 < self.double_blocks.len() { format!("{DOUBLE}{}.", index + 1) } else { format!("{SINGLE}0.") };
        weights.with_block(&format!("{DOUBLE}{index}."), Some(&next), DoubleBlock::new(&self.config, device), work)
    }

    fn with_single_block<R>(&self, index: usize, device: &Device, work: impl FnOnce(&SingleBlock) -> R) -> R {
        let Some(weights) = self.weights.as_ref().filter(|weights| weights.is_streamed()) else {
            return work(&self.single_blocks[index]);
        };
        // After the last block comes the first, of the next step.
        let next = if index + 1 < self.single_blocks.len() { format!("{SINGLE}{}.", index + 1) } else { format!("{DOUBLE}0.") };
        weights.with_block(&format!("{SINGLE}{index}."), Some(&next), SingleBlock::new(&self.config, device), work)
    }

    /// Its sizes.
    pub fn config(&self) -> &FluxConfig {
        &self.config
    }

    /// The velocity, `noise - image`, at noise level `sigma`.
    ///
    /// # Shapes
    /// - latents: `[batch, 16, height, width]`, even sides; result: the same, in f32
    pub fn forward(&self, latents: Tensor<4>, sigma: f64, conditioning: &FluxConditioning) -> Tensor<4> {
        self.forward_watched(latents, sigma, conditioning, &mut Unwatched)
    }

    /// [`forward`](Self::forward) of all blocks, or of the first alone where `cache` knows what the others add.
    pub fn forward_cached(
        &self,
        latents: Tensor<4>,
        sigma: f64,
        conditioning: &FluxConditioning,
        cache: &mut FirstBlockCache,
    ) -> Tensor<4> {
        self.forward_watched(latents, sigma, conditioning, cache)
    }

    /// [`forward`](Self::forward), showing what every part gives.
    pub(super) fn forward_watched(
        &self,
        latents: Tensor<4>,
        sigma: f64,
        conditioning: &FluxConditioning,
        watch: &mut impl Watch,
    ) -> Tensor<4> {
        let [_, _, height, width] = latents.dims();
        let [_, text_len, _] = conditioning.text.dims();
        watch.see(&|| "the encoded prompt".to_owned(), &conditioning.text);
        watch.see(&|| "the latents before the step".to_owned(), &latents);
        let rope = patches::positions(&self.config, text_len, height, width, &latents.device());
        let activated = activation::silu(self.embed_conditioning(sigma, conditioning));
        let mut image = self.image_projection.forward(patches::pack(ops::cast(latents, self.compute)));
        let mut text = self.text_projection.forward(ops::cast(conditioning.text.clone(), self.compute));
        let device = image.device();
        let mut after_first = None;
        for index in 0..self.double_blocks.len() {
            let before = image.clone();
            (image, text) = self.with_double_block(index, &device, |block| block.forward(image, text, &activated, &rope));
            watch.see(&|| format!("the image stream after double block {index}"), &image);
            watch.see(&|| format!("the text stream after double block {index}"), &text);
            if index == 0 {
                if let Some(rest) = watch.rest_after_first(&before, &image) {
                    return self.velocity_of(image + rest, activated, height, width);
                }
                after_first = Some(image.clone());
            }
        }
        let mut both = Tensor::cat(vec![text, image], 1);
        for index in 0..self.single_blocks.len() {
            both = self.with_single_block(index, &device, |block| block.forward(both, &activated, &rope));
            watch.see(&|| format!("the result of single block {index}"), &both);
        }
        let [_, len, _] = both.dims();
        let image = both.narrow(1, text_len, len - text_len);
        if let Some(after_first) = after_first {
            watch.learn_rest(&after_first, &image);
        }
        self.velocity_of(image, activated, height, width)
    }

    /// The velocity that the image tokens after the last block stand for, `[batch, 16, height, width]`.
    fn velocity_of(&self, image: Tensor<3>, activated: Tensor<2>, height: usize, width: usize) -> Tensor<4> {
        let modulation = self.final_modulation.forward(activated).split(self.config.hidden_size(), 1);
        let image = modulated_norm(image, modulation[0].clone(), modulation[1].clone());
        patches::unpack(self.final_projection.forward(image).cast(DType::F32), height, width)
    }

    /// Timestep, pooled text and guidance as one vector, `[batch, hidden_size]`.
    fn embed_conditioning(&self, sigma: f64, conditioning: &FluxConditioning) -> Tensor<2> {
        /// Both the noise level and the guidance are embedded in thousandths.
        const THOUSANDTHS: f32 = 1000.0;
        let [batch, _] = conditioning.pooled.dims();
        let device = conditioning.pooled.device();
        let sinusoids = |value: f64| timestep_embedding(value as f32 * THOUSANDTHS, batch, self.compute, &device);
        let timestep = self.timestep_embedding.forward(sinusoids(sigma));
        let pooled = self.pooled_embedding.forward(ops::cast(conditioning.pooled.clone(), self.compute));
        match &self.guidance_embedding {
            Some(embedding) => timestep + embedding.forward(sinusoids(conditioning.distilled_guidance)) + pooled,
            None => timestep + pooled,
        }
    }
}

impl LoadedNetwork for FluxTransformer {
    fn weights(&mut self) -> &mut Option<LoadedWeights> {
        &mut self.weights
    }
}

impl VelocityModel for FluxTransformer {
    type Conditioning = FluxConditioning;

    fn velocity(&self, latents: Tensor<4>, sigma: f64, conditioning: &FluxConditioning) -> Tensor<4> {
        self.forward(latents, sigma, conditioning)
    }
}
