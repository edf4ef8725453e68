//! The fixtures of Stable Diffusion 3: checkpoints in two layouts, and what diffusers computes with them.

#![allow(dead_code, reason = "every test program uses a part")]

use std::fmt::{self, Display};
use std::fs;
use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_models::sd3::{Sd3Conditioning, Sd3Files};
use diffusion_models::{Guidance, ModelParts, PipelineError, Prompt, Settings, StepCache, Tiling};
use diffusion_schedulers::guidance::SkipLayerGuidance;
use diffusion_schedulers::kind::SamplerKind;
use serde::Deserialize;

use crate::common;

/// All fixtures of this family.
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

    pub(crate) fn open(&self, layout: Layout) -> Result<Sd3Files, PipelineError> {
        match layout {
            Layout::Folder => Sd3Files::open(&self.path(""), &ModelParts::default()),
            Layout::SingleFile => Sd3Files::open(&self.path("original.safetensors"), &self.parts()),
        }
    }

    /// What `original.safetensors` needs besides: configurations, and text encoders where it has none.
    pub(crate) fn parts(&self) -> ModelParts {
        let config = Some(self.path(""));
        if self.name != "sd3-large" {
            return ModelParts { config, ..ModelParts::default() };
        }
        let [clip_l, clip_g, t5xxl] = ["text_encoder", "text_encoder_2", "text_encoder_3"].map(|part| Some(self.path(part)));
        ModelParts { config, clip_l, clip_g, t5xxl, vae: None }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            width: self.run.width,
            height: self.run.height,
            num_steps: self.run.steps,
            sampler: SamplerKind::Euler,
            sampler_seeds: vec![0],
            schedule: None,
            shift: None,
            shift_terminal: None,
            sigmas: None,
            guidance_scale: self.run.guidance_scale,
            true_cfg_scale: 1.0,
            guidance: Guidance::default(),
            max_sequence_length: self.run.max_sequence_length,
            skip_layers: None,
            step_cache: StepCache::Off,
            tiling: Tiling::Whole,
        }
    }

    /// The settings with skip-layer guidance, for the fixture that has a reference of it.
    pub(crate) fn skip_layer_settings(&self) -> Option<Settings> {
        let (layers, [scale, start, stop]) = (self.run.skip_layers.clone()?, self.run.skip_layer_guidance?);
        let guidance = SkipLayerGuidance { layers, scale, start, stop };
        Some(Settings { skip_layers: Some(guidance), ..self.settings() })
    }

    /// The encoded prompts of the reference.
    pub(crate) fn prompt(&self) -> Prompt<Sd3Conditioning> {
        let encoded = |sign: &str| Sd3Conditioning {
            text: self.tensor(&format!("{sign}prompt_embeds")),
            pooled: self.tensor(&format!("{sign}pooled_prompt_embeds")),
        };
        Prompt { positive: encoded(""), negative: Some(encoded("negative_")) }
    }
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
