//! What a file means by the name of a module.

use diffusion_core::checkpoint::KeyMap;

use super::dialect::Dialect;

/// How the segments of a module's name are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// By dots.
    Dots,
    /// By underscores, which occur inside segments as well: names are compared, never split.
    Underscores,
}

/// A module as a file names it, understood as far as that goes without the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModuleName {
    pub(crate) dialect: Dialect,
    pub(crate) spelling: Spelling,
    /// The name after its prefix.
    pub(crate) name: String,
    /// What components that it may be in are called; it is in the first that has such a module.
    pub(crate) aliases: Aliases,
    pub(crate) rows: ModuleRows,
}

/// Which rows of a weight are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModuleRows {
    All,
    /// Queries, keys and values of a layer that is fused with more.
    Leading,
}

/// What the denoising network is called.
pub(crate) const TRANSFORMER: &str = "transformer";

/// What the component of a prefix may be called, the likeliest first. The number of a text encoder is its place in the pipeline,
/// which the model knows; the kinds after it are for a model that has the encoder in another place.
type Aliases = &'static [&'static str];

const DENOISER: Aliases = &[TRANSFORMER];
const FIRST_ENCODER: Aliases = &["text_encoder", "clip_l"];
const SECOND_ENCODER: Aliases = &["text_encoder_2", "clip_g", "t5xxl"];
const THIRD_ENCODER: Aliases = &["text_encoder_3", "t5xxl"];
const CLIP_L: Aliases = &["clip_l"];
const CLIP_G: Aliases = &["clip_g"];
const T5XXL: Aliases = &["t5xxl"];

/// Prefixes, with those first that others start with.
const PREFIXES: &[(&str, Dialect, Spelling, Aliases)] = &[
    ("lora_unet_", Dialect::Kohya, Spelling::Underscores, DENOISER),
    ("lora_transformer_", Dialect::OneTrainer, Spelling::Underscores, DENOISER),
    ("lycoris_", Dialect::Lycoris, Spelling::Underscores, DENOISER),
    ("lora_te1_", Dialect::Kohya, Spelling::Underscores, FIRST_ENCODER),
    ("lora_te2_", Dialect::Kohya, Spelling::Underscores, SECOND_ENCODER),
    ("lora_te3_", Dialect::Kohya, Spelling::Underscores, THIRD_ENCODER),
    ("lora_te_", Dialect::Kohya, Spelling::Underscores, FIRST_ENCODER),
    ("model.diffusion_model.", Dialect::ComfyUi, Spelling::Dots, DENOISER),
    ("diffusion_model.", Dialect::ComfyUi, Spelling::Dots, DENOISER),
    ("transformer.", Dialect::Diffusers, Spelling::Dots, DENOISER),
    ("text_encoder.", Dialect::Diffusers, Spelling::Dots, FIRST_ENCODER),
    ("text_encoder_2.", Dialect::Diffusers, Spelling::Dots, SECOND_ENCODER),
    ("text_encoder_3.", Dialect::Diffusers, Spelling::Dots, THIRD_ENCODER),
    ("text_encoders.clip_l.transformer.", Dialect::ComfyUi, Spelling::Dots, CLIP_L),
    ("text_encoders.clip_g.transformer.", Dialect::ComfyUi, Spelling::Dots, CLIP_G),
    ("text_encoders.t5xxl.transformer.", Dialect::ComfyUi, Spelling::Dots, T5XXL),
    ("clip_l.transformer.", Dialect::ComfyUi, Spelling::Dots, CLIP_L),
    ("clip_g.transformer.", Dialect::ComfyUi, Spelling::Dots, CLIP_G),
    ("t5xxl.transformer.", Dialect::ComfyUi, Spelling::Dots, T5XXL),
    ("", Dialect::Bare, Spelling::Dots, DENOISER),
];

/// What PEFT puts before names, its own prefix or another's.
const PEFT_PREFIX: &str = "base_model.model.";

/// XLabs' processors, and the modules that they work on. Reference: XLabs-AI/x-flux `modules/layers.py` at 4749542.
const XLABS: &[(&str, &str)] = &[
    ("double_blocks.{i}.processor.qkv_lora1", "double_blocks.{i}.img_attn.qkv"),
    ("double_blocks.{i}.processor.proj_lora1", "double_blocks.{i}.img_attn.proj"),
    ("double_blocks.{i}.processor.qkv_lora2", "double_blocks.{i}.txt_attn.qkv"),
    ("double_blocks.{i}.processor.proj_lora2", "double_blocks.{i}.txt_attn.proj"),
    ("single_blocks.{i}.processor.qkv_lora", "single_blocks.{i}.linear1_qkv"),
    ("single_blocks.{i}.processor.proj_lora", "single_blocks.{i}.linear2"),
];

/// A name of ComfyUI's for the leading rows of `linear1`.
const LEADING: (&str, &str) = ("linear1_qkv", "linear1");

impl ModuleName {
    /// What a file means by `key`.
    pub(crate) fn parse(key: &str) -> Self {
        let (stripped, peft) = key.strip_prefix(PEFT_PREFIX).map_or((key, false), |rest| (rest, true));
        let (name, dialect, spelling, aliases) = PREFIXES
            .iter()
            .find_map(|&(prefix, dialect, spelling, aliases)| Some((stripped.strip_prefix(prefix)?, dialect, spelling, aliases)))
            .unwrap_or((stripped, Dialect::Bare, Spelling::Dots, DENOISER));
        let is_xlabs = name.contains(".processor.");
        let dialect = match dialect {
            _ if is_xlabs => Dialect::Xlabs,
            _ if peft => Dialect::Peft,
            dialect => dialect,
        };
        let mut name = if is_xlabs { KeyMap::new().rename_all(XLABS).targets(name).remove(0) } else { name.to_owned() };
        let mut rows = ModuleRows::All;
        if let Some(start) = name.strip_suffix(LEADING.0) {
            name = format!("{start}{}", LEADING.1);
            rows = ModuleRows::Leading;
        }
        Self { dialect, spelling, name, aliases, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_tell_dialect_and_network() {
        let found = ModuleName::parse("lora_te2_text_model_encoder_layers_0_mlp_fc1");
        assert_eq!((found.dialect, found.aliases), (Dialect::Kohya, SECOND_ENCODER));
        let found = ModuleName::parse("base_model.model.transformer_blocks.0.attn.to_q");
        assert_eq!((found.dialect, found.name.as_str()), (Dialect::Peft, "transformer_blocks.0.attn.to_q"));
        let found = ModuleName::parse("transformer.single_transformer_blocks.3.proj_out");
        assert_eq!((found.dialect, found.name.as_str()), (Dialect::Diffusers, "single_transformer_blocks.3.proj_out"));
        assert_eq!(ModuleName::parse("double_blocks.0.img_attn.qkv").dialect, Dialect::Bare);
    }

    #[test]
    fn processors_are_what_they_work_on() {
        let found = ModuleName::parse("diffusion_model.double_blocks.7.processor.qkv_lora2");
        assert_eq!((found.dialect, found.name.as_str()), (Dialect::Xlabs, "double_blocks.7.txt_attn.qkv"));
        let found = ModuleName::parse("single_blocks.7.processor.qkv_lora");
        assert_eq!((found.name.as_str(), found.rows), ("single_blocks.7.linear1", ModuleRows::Leading));
    }
}
