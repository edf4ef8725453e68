//! What applications on the diffusion crates share, so that a program, a server or a tool begins with what it adds.
//!
//! - [`device`], [`precision`], [`memory`]: devices and precisions by name, and memory that is free.
//! - [`placement`], [`devices`]: components of a model on several devices.
//! - [`lora_mode`](mod@lora_mode): how LoRAs reach the weights.
//! - [`image_file`]: images and inpaint masks read from files of any common format, and images written with their settings.
//! - [`infotext`]: the text with a picture's settings that many programs write and read.
//! - [`prompts_file`], [`latents_file`]: prompts in text files, latents in safetensors files.
//! - [`prompt_cache`]: encoded prompts that are kept between runs.
//! - [`digest`]: what tells contents apart.
//! - [`input_file`], [`output`]: files that are read whole with a bound, and written whole or not at all.
//! - [`mod@embedded_model`]: a miniature model that the program carries, so that it draws with no download.
//! - [`hub`], [`known_models`]: models by name, downloaded from the Hugging Face hub into the cache that all its programs share.
//! - `training`: pictures with captions, as the training of adapters learns from them.
//! - [`cli`]: the frame of a program for the terminal: errors with their causes, progress with time left.
//!
//! It stands on `diffusion-models`, `diffusion-lora` and what is below them; nothing of the workspace but programs stands on it.
//! The programs of this package are `txt2img`, `inspect` and `convert`.
//!
//! # Example
//!
//! ```
//! use diffusion_app::device::DeviceName;
//! use diffusion_app::output::check_writable;
//! use diffusion_app::precision::PrecisionName;
//!
//! # #[cfg(feature = "flex")]
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let name: DeviceName = "cpu".parse()?;
//!     let device = name.open()?;
//!     let precision = PrecisionName::Auto.on(name, &device);
//!     check_writable("output.png".as_ref())?; // before work is spent on what goes into it
//!     println!("{}, computing in {:?}", name.describe(&device), precision.compute);
//!     Ok(())
//! }
//! # #[cfg(not(feature = "flex"))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! - `flex` (default): Burn's CPU backend.
//! - `cuda`, `rocm`, `vulkan`, `metal`, `webgpu`: backends for GPUs.
//! - `embedded-model` (default): carries the miniature model, 15 MB.
//! - `cli` (default): the module [`cli`], and the programs.
//! - `hub` (default): downloads models by name.
//! - `train` (default): the module `training`.
//! - `terminal` (default): `txt2img --preview` shows images in the terminal. The crate behind it brings one under the LGPL.

mod cache_folder;
#[cfg(feature = "cli")]
pub mod cli;
pub mod device;
pub mod devices;
pub mod digest;
#[cfg(feature = "embedded-model")]
pub mod embedded_model;
pub mod hub;
pub mod image_file;
pub mod infotext;
pub mod input_file;
pub mod known_models;
pub mod latents_file;
pub mod lora_mode;
pub mod memory;
pub mod output;
pub mod placement;
pub mod precision;
pub mod prompt_cache;
pub mod prompts_file;
#[cfg(feature = "train")]
pub mod training;
#[cfg(feature = "gpu")]
mod tuned_kernels;
#[cfg(feature = "vulkan")]
mod vulkan;

#[cfg(feature = "embedded-model")]
pub use embedded_model::embedded_model;

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeDoctests;
