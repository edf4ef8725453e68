//! Whose spelling a file has.

use std::fmt::{self, Display};
use std::str::FromStr;

use diffusion_core::checkpoint::Layout;

use crate::train::unknown_name::{UnknownName, by_name};

/// How a file names trained modules and their factors. `LoKr` has the spelling of LyCORIS in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoraSpelling {
    /// diffusers and PEFT: `transformer.transformer_blocks.0.attn.to_q.lora_A.weight`, alpha in the header. `ComfyUI` reads the
    /// tensors and not the header, so takes alpha for the rank: see
    /// [`TrainedModule::with_alpha_folded`](super::TrainedModule::with_alpha_folded).
    #[default]
    Diffusers,
    /// kohya's sd-scripts: `lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight`, alpha beside it. Matrices that the original
    /// release fuses are one module, of the sum of the parts' ranks.
    Kohya,
}

const SPELLINGS: [(&str, LoraSpelling); 2] = [("diffusers", LoraSpelling::Diffusers), ("kohya", LoraSpelling::Kohya)];

impl LoraSpelling {
    /// The name, which [`FromStr`] parses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Diffusers => "diffusers",
            Self::Kohya => "kohya",
        }
    }

    /// In which layout low-rank adapters are written.
    pub(super) fn layout(self) -> Layout {
        match self {
            Self::Diffusers => Layout::Diffusers,
            Self::Kohya => Layout::Original,
        }
    }
}

impl Display for LoraSpelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LoraSpelling {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name("spelling of LoRAs", &SPELLINGS, name)
    }
}
