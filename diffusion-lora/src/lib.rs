//! LoRA files, and their kin, in the dialects that people publish: opened, reported, and applied to a model that knows nothing
//! of them.
//!
//! A [`Lora`] is a file. A [`LoraSet`] is files with strengths. [`SetLoras::set_loras`] makes a pipeline draw with a set, in
//! place of the set before, and touches only the weights that the two patch differently. It returns a [`Report`] per file, and
//! refuses a file that does not fit to the last tensor, so that no LoRA silently does nothing.
//!
//! This crate stands on `diffusion-core` and knows no model. A LoRA file names modules in one of several [`dialects`]; a model
//! gives the published names of its networks as [`PatchTarget`](diffusion_core::weights::PatchTarget)s. So a LoRA of either
//! layout fits a checkpoint of either layout.
//!
//! ```
//! use diffusion_core::weights::{ComponentId, PatchTarget};
//! use diffusion_lora::{Lora, LoraSet};
//! # use burn::tensor::{Device, Tensor};
//! # use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
//! # use diffusion_core::checkpoint::{KeyMap, Layout, PublishedNames};
//! # use diffusion_core::format::Format;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("lora.safetensors");
//! # let spec = |name: &str, shape| TensorSpec { name: format!("transformer.to_q.{name}.weight"), shape, format: Format::F32 };
//! # let specs = vec![spec("lora_A", vec![1, 2]), spec("lora_B", vec![2, 1])];
//! # let mut writer = CheckpointWriter::create(&path, Container::Safetensors, specs, None)?;
//! # for row in [[1.0_f32, 2.0], [3.0, 4.0]] {
//! #     writer.append(&row.map(f32::to_le_bytes).concat())?;
//! # }
//! # writer.finish()?;
//! # let shapes = [("query.weight".to_owned(), vec![2, 2])].into();
//! # let names = PublishedNames::new(shapes).with_layout(Layout::Diffusers, &KeyMap::new().rename("to_q", "query"), "");
//! # let device = Device::flex();
//!
//! // A network whose layer `query` is `to_q` in published files. A pipeline says that of its networks itself.
//! let transformer = ComponentId::new("transformer", "transformer");
//! let targets = [PatchTarget { component: transformer, aliases: vec!["transformer"], names }];
//!
//! let lora = Lora::open(&path)?;
//! println!("{}", lora.report(&targets)); // ...: 1 modules (1 LoRA) in 2 tensors, dialect diffusers, rank 1, ...
//! assert!(lora.report(&targets).fits());
//!
//! // Half of the product of its factors, [3, 4]ᵀ · [1, 2], is added to the weight.
//! let (patches, _) = LoraSet::new().with(&lora, 0.5).patches(&targets, &device)?;
//! let patch = patches[&transformer].get("query.weight").expect("it fits");
//! let patched = patch.fused(Tensor::zeros([2, 2], &device));
//! assert_eq!(patched.into_data().to_vec::<f32>()?, [1.5, 3.0, 2.0, 4.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! - `train`: training adapters, the module [`train`]. Off by default.

mod adapter;
mod adapter_number;
mod contribution;
pub mod dialects;
mod error;
mod file_contents;
mod lora;
mod lora_folder;
mod lora_set;
mod ordered_map;
mod other_file;
mod patch;
mod peft_patterns;
mod peft_settings;
mod place;
mod report;
mod settings_source;
mod strength;
mod tensors;
#[cfg(feature = "train")]
pub mod train;
mod vocabulary;

pub use error::{LoraError, SetLorasError};
pub use lora::Lora;
pub use lora_set::{LoraSet, SetLoras};
pub use report::{Mismatched, Reason, Report, Unexpected, WithoutEffect};
pub use strength::Strength;
