//! The table of cases, and what each can be measured with.

use std::error::Error;

use diffusion_core::format::Format;

use crate::setting::{Products, Running, Setting};
use crate::{build, operations, sizes, training};

/// Formats that weights of networks are measured in.
const NETWORK: &[Format] = &[Format::F32, Format::BF16, Format::Q8_0, Format::Q4_0];
/// Convolution kernels, whose rows are three numbers, are never in blocks.
const CONVOLUTIONS: &[Format] = &[Format::F32, Format::BF16];
/// Where there are no weights, those that are not there are in f32.
const NO_WEIGHTS: &[Format] = &[Format::F32];

/// A part of a generation at published widths: batch 1, on the CPU.
///
/// `benches/peers/torch_case.py` makes the same from torch, diffusers and transformers.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What programs and results call it.
    pub name: &'static str,
    /// What it consists of.
    pub about: &'static str,
    /// Formats that its weights can be in.
    pub formats: &'static [Format],
    /// See [`Self::operations`].
    operations: fn() -> f64,
    build: fn(Setting) -> Result<Running, Box<dyn Error>>,
}

/// All cases.
pub const CASES: [Case; 9] = [
    Case {
        name: "sd3.5-medium/512",
        about: "4 of 24 blocks, 2 with dual attention, 1024 image and 333 text tokens",
        formats: NETWORK,
        operations: || operations::sd3(&sizes::sd3_medium()),
        build: |setting| build::sd3(&sizes::sd3_medium(), setting),
    },
    Case {
        name: "sd3.5-large/512",
        about: "2 of 38 blocks, 1024 image and 333 text tokens",
        formats: NETWORK,
        operations: || operations::sd3(&sizes::sd3_large()),
        build: |setting| build::sd3(&sizes::sd3_large(), setting),
    },
    Case {
        name: "flux/512",
        about: "1 of 19 double and 2 of 38 single blocks, 1024 image and 512 text tokens",
        formats: NETWORK,
        operations: || operations::flux(&sizes::flux_dev()),
        build: |setting| build::flux(&sizes::flux_dev(), setting),
    },
    Case {
        name: "vae-decode/256",
        about: "16-channel AutoencoderKL, 32 x 32 latents to 256 x 256 pixels",
        formats: CONVOLUTIONS,
        operations: operations::autoencoder,
        build: build::autoencoder,
    },
    Case {
        name: "clip-g/77",
        about: "the CLIP-G text encoder, 77 tokens",
        formats: NETWORK,
        operations: operations::clip,
        build: build::clip,
    },
    Case {
        name: "t5-xxl/256",
        about: "2 of 24 blocks of T5 XXL, 256 tokens",
        formats: NETWORK,
        operations: || operations::t5(&sizes::t5_xxl()),
        build: |setting| build::t5(&sizes::t5_xxl(), setting),
    },
    Case {
        name: "attention/4608",
        about: "24 heads of 128 numbers, 4608 tokens, as projections write them",
        formats: NO_WEIGHTS,
        operations: operations::attention_alone,
        build: build::attention_alone,
    },
    Case {
        name: "train-sd3.5-medium/512",
        about: "a step of training a LoRA of rank 16 on the blocks of sd3.5-medium/512",
        formats: NETWORK,
        operations: || operations::with_gradients(operations::sd3(&sizes::sd3_medium())),
        build: |setting| training::sd3(&sizes::sd3_medium(), setting),
    },
    Case {
        name: "train-flux/512",
        about: "a step of training a LoRA of rank 16 on the blocks of flux/512",
        formats: NETWORK,
        operations: || operations::with_gradients(operations::flux(&sizes::flux_dev())),
        build: |setting| training::flux(&sizes::flux_dev(), setting),
    },
];

impl Case {
    /// The case of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name)
    }

    /// Every way in which it can be computed.
    pub fn settings(&self) -> impl Iterator<Item = Setting> {
        let settings = |products| self.formats.iter().map(move |&weights| Setting { products, weights });
        Products::ALL.into_iter().flat_map(settings)
    }

    /// Multiplications and additions of products that its result depends on, in the least that is known.
    pub fn operations(&self) -> f64 {
        (self.operations)()
    }

    /// Write its weights into a file, load it and make its inputs.
    ///
    /// # Errors
    /// If there is no room for the file, or it cannot be computed so.
    pub fn build(&self, setting: Setting) -> Result<Running, Box<dyn Error>> {
        if !self.formats.contains(&setting.weights) {
            return Err(format!("{} has no weights in {}", self.name, setting.weights).into());
        }
        (self.build)(setting)
    }
}
