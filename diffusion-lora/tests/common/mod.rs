//! What integration tests share.

#![allow(dead_code, reason = "every test program uses a part")]

pub(crate) mod raw_lora;
pub(crate) mod training;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::{Precision, Sigmas};
use diffusion_models::{ComponentPaths, Conditioning, EncodedPrompt, Pipeline, PipelineOptions, Settings, Start, ignore};
use serde_json::Value;

/// A file under the workspace's `fixtures`.
pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

/// A LoRA of a fixture.
pub(crate) fn lora_file(fixture_name: &str, lora: &str) -> PathBuf {
    let path = fixture(fixture_name).join("lora").join(lora);
    if path.is_dir() { path } else { path.with_extension("safetensors") }
}

/// The fixture of Stable Diffusion 3 that has LoRAs.
pub(crate) const SD3: &str = "sd3";
/// The fixture of FLUX.1 that has LoRAs.
pub(crate) const FLUX: &str = "flux-dev";

/// A fixture, opened in one of its layouts.
pub(crate) fn pipeline(name: &str, layout: Layout, precision: Precision) -> Pipeline {
    let folder = fixture(name);
    let options = PipelineOptions { precision, ..PipelineOptions::new(&Device::flex()) };
    match layout {
        Layout::Folder => Pipeline::open(&folder, &options),
        Layout::SingleFile => {
            let components = ComponentPaths::new().with_config(&folder);
            Pipeline::open(&folder.join("original.safetensors"), &PipelineOptions { components, ..options })
        }
    }
    .unwrap()
}

/// Where the same weights lie twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A diffusers folder.
    Folder,
    /// `original.safetensors`.
    SingleFile,
}

/// Settings and tensors of a fixture's reference run.
pub(crate) struct Reference {
    pub(crate) run: Value,
    tensors: Checkpoint,
    loras: Checkpoint,
}

impl Reference {
    pub(crate) fn of(name: &str) -> Self {
        let folder = fixture(name);
        let run = serde_json::from_slice(&std::fs::read(folder.join("reference.json")).unwrap()).unwrap();
        let tensors = Checkpoint::open(&folder.join("reference.safetensors")).unwrap();
        let loras = Checkpoint::open(&folder.join("lora/reference.safetensors")).unwrap();
        Self { run, tensors, loras }
    }

    pub(crate) fn settings(&self, pipeline: &Pipeline) -> Settings {
        let number = |name: &str| self.run[name].as_u64().unwrap() as usize;
        Settings {
            width: number("width"),
            height: number("height"),
            max_sequence_length: number("max_sequence_length"),
            // One step from noise to the image gives the velocity.
            sigmas: Some(Sigmas::new(vec![self.first_sigma(), 0.0]).unwrap()),
            num_steps: 1,
            ..pipeline.default_settings()
        }
    }

    fn first_sigma(&self) -> f64 {
        f64::from(self.tensors.get("sigmas").unwrap().to_f32().unwrap()[0])
    }

    /// The velocity that the pipeline gives for the reference's first step.
    pub(crate) fn velocity(&self, pipeline: &mut Pipeline) -> Tensor<4> {
        let guidance = self.run["guidance_scale"].as_f64().unwrap();
        let (noise, positive) = self.start();
        let mut settings = self.settings(pipeline);
        settings.guidance_scale = 1.0;
        settings.distilled_guidance = settings.distilled_guidance.map(|_| guidance);
        let (prompt, start) = (EncodedPrompt::new(positive, None), Start::from_noise(noise.clone()));
        let latents = pipeline.denoise(&prompt, &start, &settings, &mut ignore).unwrap();
        (noise - latents).div_scalar(self.first_sigma())
    }

    /// The noise and the encoded prompt of the reference.
    pub(crate) fn start(&self) -> (Tensor<4>, Conditioning) {
        let [tokens, pooled] = ["prompt_embeds", "pooled_prompt_embeds"];
        let positive = Conditioning { tokens: tensor(&self.tensors, tokens), pooled: tensor(&self.tensors, pooled) };
        (tensor(&self.tensors, "noise"), positive)
    }

    /// What diffusers computes with a LoRA.
    pub(crate) fn expected<const D: usize>(&self, name: &str) -> Tensor<D> {
        tensor(&self.loras, name)
    }

    /// What diffusers computes without.
    pub(crate) fn plain_velocity(&self) -> Tensor<4> {
        tensor(&self.tensors, "velocity_0")
    }
}

/// A tensor of a file, in f32.
pub(crate) fn tensor<const D: usize>(file: &Checkpoint, name: &str) -> Tensor<D> {
    let stored = file.get(name).unwrap_or_else(|| panic!("no {name} in {}", file.path().display()));
    let data = TensorData::new(stored.to_f32().unwrap(), stored.shape().to_vec());
    Tensor::from_data(data, (&Device::flex(), DType::F32))
}

/// Norm of the difference over the norm of what is expected.
pub(crate) fn relative_error<const D: usize>(found: Tensor<D>, expected: Tensor<D>) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let norm = |x: Tensor<D>| x.into_data().iter::<f64>().map(|x| x * x).sum::<f64>().sqrt();
    norm(found - expected.clone()) / norm(expected)
}

/// Fails if the relative error is above `tolerance` or not a number.
#[track_caller]
pub(crate) fn assert_close<const D: usize>(what: &str, found: Tensor<D>, expected: Tensor<D>, tolerance: f64) {
    let error = relative_error(found, expected);
    println!("{what}: relative error {error:.1e}");
    assert!(error <= tolerance, "{what}: relative error {error:.2e}, allowed {tolerance:.0e}");
}

/// The bytes of all plain float parameters of the denoising network, which is an `N`, by path.
pub(crate) fn denoiser_bits<N: Module + 'static>(pipeline: &Pipeline) -> BTreeMap<String, Vec<u8>> {
    let denoiser: &dyn Any = pipeline.denoiser().unwrap();
    bits(denoiser.downcast_ref::<N>().unwrap())
}

/// The bytes of all plain float parameters of a module, by path.
pub(crate) fn bits<M: Module>(module: &M) -> BTreeMap<String, Vec<u8>> {
    #[derive(Default)]
    struct Bits {
        path: Vec<String>,
        found: BTreeMap<String, Vec<u8>>,
    }
    impl ModuleVisitor for Bits {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let data = param.val().into_data();
            self.found.insert(self.path.join("."), data.as_bytes().to_vec());
        }
    }
    let mut bits = Bits::default();
    module.visit(&mut bits);
    bits.found
}
