//! What integration tests share.

#![allow(dead_code, reason = "every test program uses a part")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::{Precision, Sigmas};
use diffusion_models::flux::{Flux, FluxConditioning};
use diffusion_models::sd3::{Sd3, Sd3Conditioning};
use diffusion_models::{Family, ModelParts, Pipeline, Prompt, Settings};
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

/// A family with a fixture that has LoRAs.
pub(crate) trait WithLoras: Family {
    const FIXTURE: &'static str;
    fn conditioning(text: Tensor<3>, pooled: Tensor<2>, guidance_scale: f64) -> Self::Conditioning;
    fn parts_of(conditioning: Self::Conditioning) -> (Tensor<3>, Tensor<2>);
}

impl WithLoras for Sd3 {
    const FIXTURE: &'static str = "sd3";
    fn conditioning(text: Tensor<3>, pooled: Tensor<2>, _: f64) -> Sd3Conditioning {
        Sd3Conditioning { text, pooled }
    }
    fn parts_of(conditioning: Sd3Conditioning) -> (Tensor<3>, Tensor<2>) {
        (conditioning.text, conditioning.pooled)
    }
}

impl WithLoras for Flux {
    const FIXTURE: &'static str = "flux-dev";
    fn conditioning(text: Tensor<3>, pooled: Tensor<2>, guidance_scale: f64) -> FluxConditioning {
        FluxConditioning { text, pooled, distilled_guidance: guidance_scale }
    }
    fn parts_of(conditioning: FluxConditioning) -> (Tensor<3>, Tensor<2>) {
        (conditioning.text, conditioning.pooled)
    }
}

/// The fixture of a family, opened in one of its layouts.
pub(crate) fn pipeline<F: WithLoras>(single_file: bool, precision: Precision) -> Pipeline<F> {
    let folder = fixture(F::FIXTURE);
    let (path, parts) = if single_file {
        (folder.join("original.safetensors"), ModelParts { config: Some(folder), ..ModelParts::default() })
    } else {
        (folder, ModelParts::default())
    };
    Pipeline::open(&path, &parts, precision, &Device::flex()).unwrap()
}

/// Settings and tensors of a fixture's reference run.
pub(crate) struct Reference {
    pub(crate) run: Value,
    tensors: Checkpoint,
    loras: Checkpoint,
}

impl Reference {
    pub(crate) fn of<F: WithLoras>() -> Self {
        let folder = fixture(F::FIXTURE);
        let run = serde_json::from_slice(&std::fs::read(folder.join("reference.json")).unwrap()).unwrap();
        let tensors = Checkpoint::open(&folder.join("reference.safetensors")).unwrap();
        let loras = Checkpoint::open(&folder.join("lora/reference.safetensors")).unwrap();
        Self { run, tensors, loras }
    }

    pub(crate) fn settings<F: WithLoras>(&self, pipeline: &Pipeline<F>) -> Settings {
        let number = |name: &str| self.run[name].as_u64().unwrap() as usize;
        Settings {
            width: number("width"),
            height: number("height"),
            max_sequence_length: number("max_sequence_length"),
            // One step from noise to the picture gives the velocity.
            sigmas: Some(Sigmas::new(vec![self.first_sigma(), 0.0]).unwrap()),
            num_steps: 1,
            ..pipeline.default_settings()
        }
    }

    fn first_sigma(&self) -> f64 {
        f64::from(self.tensors.get("sigmas").unwrap().to_f32().unwrap()[0])
    }

    /// The velocity that the pipeline gives for the reference's first step.
    pub(crate) fn velocity<F: WithLoras>(&self, pipeline: &mut Pipeline<F>) -> Tensor<4> {
        let guidance = self.run["guidance_scale"].as_f64().unwrap();
        let [text, pooled] = ["prompt_embeds", "pooled_prompt_embeds"];
        let positive = F::conditioning(tensor(&self.tensors, text), tensor(&self.tensors, pooled), guidance);
        let mut settings = self.settings(pipeline);
        settings.guidance_scale = if F::FIXTURE.starts_with("flux") { guidance } else { 1.0 };
        let noise: Tensor<4> = tensor(&self.tensors, "noise");
        let prompt = Prompt { positive, negative: None };
        let latents = pipeline.denoise(&prompt, noise.clone(), &settings, &mut |_| ControlFlow::Continue(())).unwrap();
        (noise - latents).div_scalar(self.first_sigma())
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

fn tensor<const D: usize>(file: &Checkpoint, name: &str) -> Tensor<D> {
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
