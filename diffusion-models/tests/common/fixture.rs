//! The fixtures: checkpoints in two layouts, and what diffusers computes with them.

#![allow(dead_code, reason = "every test program uses a part")]

use std::any::Any;
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::Precision;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::weights::ComponentId;
use diffusion_models::block_network::{self, BlockNetwork, NoHook};
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL};
use diffusion_models::{
    ComponentPaths, Conditioning, DenoiserInput, EncodedPrompt, Model, Pipeline, PipelineError, PipelineOptions, Settings,
    open_model,
};
use diffusion_schedulers::guidance::SkipLayerGuidance;
use serde::Deserialize;

use crate::common;

/// All fixtures of Stable Diffusion 3.
pub(crate) const FIXTURES: [&str; 3] = ["sd3", "sd3-medium", "sd3-large"];

/// Where the same weights lie twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A diffusers folder.
    Folder,
    /// `original.safetensors`, with the text encoders of the folder where it has none.
    SingleFile,
}

/// A fixture, and the tensors that diffusers computes with it.
pub(crate) struct Fixture {
    pub(crate) name: &'static str,
    pub(crate) run: Run,
    reference: Checkpoint,
    device: Device,
}

/// `reference.json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Run {
    /// Of the weights; of the noise for the miniature, whose weights are trained.
    pub(crate) seed: u64,
    pub(crate) prompt: String,
    pub(crate) negative_prompt: String,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) steps: usize,
    pub(crate) guidance_scale: f64,
    pub(crate) max_sequence_length: usize,
    skip_layers: Option<Vec<usize>>,
    skip_layer_guidance: Option<[f64; 3]>,
}

impl Fixture {
    pub(crate) fn new(name: &'static str) -> Self {
        let json = fs::read(common::fixture(name).join("reference.json")).unwrap();
        let reference = Checkpoint::open(&common::fixture(name).join("reference.safetensors")).unwrap();
        Self { name, run: serde_json::from_slice(&json).unwrap(), reference, device: Device::flex() }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        common::fixture(self.name).join(file)
    }

    /// A tensor of the reference.
    pub(crate) fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        common::tensor(&self.reference, name, &self.device)
    }

    /// Token ids of the reference: of CLIP-L, CLIP-G and T5.
    pub(crate) fn token_ids(&self, tokenizer: usize) -> Vec<u32> {
        token_ids(&self.reference, &format!("ids_{tokenizer}"))
    }

    pub(crate) fn open(&self, layout: Layout) -> Result<Box<dyn Model>, PipelineError> {
        let (path, components) = self.places(layout);
        open_model(&path, &components)
    }

    /// A pipeline of the folder.
    pub(crate) fn pipeline(&self) -> Pipeline {
        self.pipeline_in(Layout::Folder)
    }

    pub(crate) fn pipeline_in(&self, layout: Layout) -> Pipeline {
        let (path, components) = self.places(layout);
        pipeline(&path, &components)
    }

    fn places(&self, layout: Layout) -> (PathBuf, ComponentPaths) {
        match layout {
            Layout::Folder => (self.path(""), ComponentPaths::new()),
            Layout::SingleFile => (self.path("original.safetensors"), self.components()),
        }
    }

    /// What `original.safetensors` needs besides: configurations, and text encoders where it has none.
    pub(crate) fn components(&self) -> ComponentPaths {
        let with_config = ComponentPaths::new().with_config(self.path(""));
        match self.name {
            "sd3-large" => self.text_encoders().into_iter().fold(with_config, |paths, (id, path)| paths.with(id, path)),
            _ => with_config,
        }
    }

    /// The text encoders of a folder of Stable Diffusion 3.
    pub(crate) fn text_encoders(&self) -> [(ComponentId, PathBuf); 3] {
        [(CLIP_L, "text_encoder"), (CLIP_G, "text_encoder_2"), (T5XXL, "text_encoder_3")]
            .map(|(id, folder)| (id, self.path(folder)))
    }

    /// The settings of the reference. diffusers calls the distilled guidance of FLUX.1-dev a guidance scale, too.
    pub(crate) fn settings(&self) -> Settings {
        let scale = self.run.guidance_scale;
        let (guidance_scale, distilled_guidance) = match self.name {
            "flux-dev" => (1.0, Some(scale)),
            "flux-schnell" => (1.0, None),
            _ => (scale, None),
        };
        Settings {
            width: self.run.width,
            height: self.run.height,
            num_steps: self.run.steps,
            guidance_scale,
            distilled_guidance,
            max_sequence_length: self.run.max_sequence_length,
            ..Settings::default()
        }
    }

    /// The settings with skip-layer guidance, for the fixture that has a reference of it.
    pub(crate) fn skip_layer_settings(&self) -> Option<Settings> {
        let (layers, [scale, start, stop]) = (self.run.skip_layers.clone()?, self.run.skip_layer_guidance?);
        let guidance = SkipLayerGuidance { layers, scale, start, stop };
        Some(Settings { skip_layers: Some(guidance), ..self.settings() })
    }

    /// The encoded prompts of the reference.
    pub(crate) fn prompt(&self) -> EncodedPrompt {
        let encoded = |sign: &str| Conditioning {
            tokens: self.tensor(&format!("{sign}prompt_embeds")),
            pooled: self.tensor(&format!("{sign}pooled_prompt_embeds")),
        };
        EncodedPrompt::new(encoded(""), Some(encoded("negative_")))
    }
}

/// A pipeline in f32 on the CPU.
pub(crate) fn pipeline(path: &Path, components: &ComponentPaths) -> Pipeline {
    let options =
        PipelineOptions { components: components.clone(), precision: Precision::f32(), ..PipelineOptions::new(&Device::flex()) };
    Pipeline::open(path, &options).unwrap()
}

/// A model as its own type.
pub(crate) fn typed<M: Model>(model: &dyn Model) -> &M {
    (model as &dyn Any).downcast_ref().expect("a model of this family")
}

/// The velocity that a network gives latents of one noise level, without guidance.
pub(crate) fn velocity(network: &impl BlockNetwork, latents: Tensor<4>, sigma: f64, conditioning: &Conditioning) -> Tensor<4> {
    let sigmas = vec![sigma; latents.dims()[0]];
    velocity_of(network, &DenoiserInput { latents, sigmas: &sigmas, conditioning, distilled_guidance: None, modulations: None })
}

/// The velocity that a network gives.
pub(crate) fn velocity_of(network: &impl BlockNetwork, input: &DenoiserInput<'_>) -> Tensor<4> {
    block_network::run(network, input, &[], &mut NoHook).unwrap()
}

impl Display for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every fixture in both layouts.
pub(crate) fn in_both_layouts() -> impl Iterator<Item = (Fixture, Layout)> {
    FIXTURES.into_iter().flat_map(|name| [Layout::Folder, Layout::SingleFile].map(|layout| (Fixture::new(name), layout)))
}

/// A row of 32-bit integers, which weights are never stored in.
pub(crate) fn token_ids(file: &Checkpoint, name: &str) -> Vec<u32> {
    let bytes = file.get(name).unwrap_or_else(|| panic!("no {name} in {}", file.path().display())).bytes();
    bytes.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect()
}

/// Token ids of one prompt, as encoders take them.
pub(crate) fn as_batch(ids: &[u32], device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = ids.iter().map(|&id| i32::try_from(id).unwrap()).collect();
    let shape = [1, ids.len()];
    Tensor::from_data(TensorData::new(ids, shape), device)
}
