//! Ways to spell the names of modules.

use std::fmt::{self, Display};

/// A way to spell the names of modules, by the program or the people that write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Dialect {
    /// diffusers: names of diffusers after `transformer.`, as ai-toolkit and SimpleTuner write them too.
    Diffusers,
    /// PEFT without diffusers: names after `base_model.model.`.
    Peft,
    /// ComfyUI: original names after `diffusion_model.`, as ai-toolkit writes them too.
    ComfyUi,
    /// kohya's sd-scripts: original names with underscores after `lora_unet_`.
    Kohya,
    /// OneTrainer: names of diffusers with underscores after `lora_transformer_`.
    OneTrainer,
    /// LyCORIS as SimpleTuner writes it: names of diffusers with underscores after `lycoris_`.
    Lycoris,
    /// XLabs: names of attention processors.
    Xlabs,
    /// Black Forest Labs' control LoRAs: original names, and norms besides.
    BflControl,
    /// Names without a prefix.
    Bare,
}

impl Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diffusers => "diffusers",
            Self::Peft => "PEFT",
            Self::ComfyUi => "ComfyUI",
            Self::Kohya => "kohya",
            Self::OneTrainer => "OneTrainer",
            Self::Lycoris => "LyCORIS",
            Self::Xlabs => "XLabs",
            Self::BflControl => "Black Forest Labs control",
            Self::Bare => "names without a prefix",
        })
    }
}
