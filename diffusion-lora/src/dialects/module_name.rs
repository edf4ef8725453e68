//! What a file means by the name of a module.

use diffusion_core::checkpoint::KeyMap;

use super::dialect::Dialect;
use super::network::{Aliases, Spelling};
use super::prefix::{Prefix, flattened_candidates};

/// A module as a file names it, understood as far as that goes without the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModuleName {
    pub(crate) dialect: Dialect,
    pub(crate) spelling: Spelling,
    /// What stands before the name, as the file spells it.
    pub(crate) prefix: String,
    /// The name after its prefix, the likeliest first. There are several only where underscores leave it open which of them are
    /// part of the prefix; the model that the name is looked up in decides.
    pub(crate) candidates: Vec<String>,
    /// The name that PEFT's settings mean.
    pub(crate) in_peft: String,
    /// What components that it may be in are called; it is in the first that has such a module.
    pub(crate) aliases: Aliases,
    pub(crate) rows: ModuleRows,
}

/// Which rows of a weight are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ModuleRows {
    All,
    /// Queries, keys and values of a layer that is fused with more.
    Leading,
}

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
        let Prefix { dialect, spelling, aliases, text, module, in_peft } = Prefix::parse(key);
        let is_xlabs = module.contains(".processor.");
        let (dialect, mut candidates) = match spelling {
            Spelling::Dots if is_xlabs => (Dialect::Xlabs, KeyMap::new().rename_all(XLABS).targets(module)),
            Spelling::Dots => (dialect, vec![module.to_owned()]),
            Spelling::Underscores => (dialect, flattened_candidates(module)),
        };
        let mut rows = ModuleRows::All;
        for name in &mut candidates {
            if let Some(start) = name.strip_suffix(LEADING.0) {
                *name = format!("{start}{}", LEADING.1);
                rows = ModuleRows::Leading;
            }
        }
        Self { dialect, spelling, prefix: text.to_owned(), candidates, in_peft: in_peft.to_owned(), aliases, rows }
    }

    /// What tells two modules apart, however they are spelled.
    pub(crate) fn identity(&self) -> (Aliases, String, ModuleRows) {
        let name = self.candidates.first().map(|name| name.replace('.', "_"));
        (self.aliases, name.unwrap_or_default(), self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::network::{CLIP_L, DENOISER, FIRST_ENCODER, SECOND_ENCODER};
    use super::*;

    fn parsed(key: &str) -> (Dialect, Aliases, String) {
        let ModuleName { dialect, aliases, candidates, .. } = ModuleName::parse(key);
        (dialect, aliases, candidates[0].clone())
    }

    #[test]
    fn prefixes_tell_dialect_and_network() {
        let encoder = "text_model_encoder_layers_0_mlp_fc1";
        assert_eq!(parsed(&format!("lora_te2_{encoder}")), (Dialect::Kohya, SECOND_ENCODER, encoder.to_owned()));
        assert_eq!(parsed(&format!("lora_te_{encoder}")), (Dialect::Kohya, FIRST_ENCODER, encoder.to_owned()));
        let query = "transformer_blocks.0.attn.to_q";
        assert_eq!(parsed(&format!("base_model.model.{query}")), (Dialect::Peft, DENOISER, query.to_owned()));
        assert_eq!(parsed(&format!("transformer.{query}")), (Dialect::Diffusers, DENOISER, query.to_owned()));
        assert_eq!(parsed(query), (Dialect::Bare, DENOISER, query.to_owned()));
        let flat = query.replace('.', "_");
        assert_eq!(parsed(&format!("lora_transformer_{flat}")), (Dialect::OneTrainer, DENOISER, flat));
    }

    #[test]
    fn pieces_of_prefixes_come_in_any_order_and_with_any_separators() {
        let query = "transformer_blocks.0.attn.to_q";
        for prefix in [
            "transformer.base_model.model.",
            "base_model.model.transformer.",
            "base_model.model.diffusion_model.",
            "model.diffusion_model.base_model.model.",
            "base_model.model.model.",
            "transformer._orig_mod.",
            "module.transformer.",
            "transformer..",
            ".transformer.",
            "unet.base_model.model.",
        ] {
            let found = ModuleName::parse(&format!("{prefix}{query}"));
            assert_eq!((found.aliases, &found.candidates[..]), (DENOISER, &[query.to_owned()][..]), "{prefix}");
        }
        let flat = "double_blocks_0_img_attn_qkv";
        for prefix in ["lora_unet_", "lora_unet__", "lora_unet.", "_lora_unet_", "base_model.model.lora_unet_", "lycoris_"] {
            for name in [flat, "double_blocks.0.img_attn.qkv", "double_blocks_0_img_attn_qkv_"] {
                let found = ModuleName::parse(&format!("{prefix}{name}"));
                assert_eq!((found.aliases, &found.candidates[..]), (DENOISER, &[flat.to_owned()][..]), "{prefix}{name}");
            }
        }
        let found = ModuleName::parse("lora_transformer_base_model_model_transformer_blocks_0_attn_to_q");
        assert!(found.candidates.contains(&"transformer_blocks_0_attn_to_q".to_owned()), "{found:?}");
        for prefix in ["text_encoders.clip_l.transformer.", "clip_l.", "base_model.model.clip_l.transformer."] {
            let found = ModuleName::parse(&format!("{prefix}text_model.encoder.layers.0.mlp.fc1"));
            assert_eq!(
                (found.aliases, found.candidates[0].as_str()),
                (CLIP_L, "text_model.encoder.layers.0.mlp.fc1"),
                "{prefix}"
            );
        }
    }

    #[test]
    fn pieces_that_contradict_each_other_are_no_prefix() {
        for key in ["transformer.clip_l.x", "text_encoder.text_encoder_2.x", "text_encoder.diffusion_model.x"] {
            assert_eq!(parsed(key).2, key.split_once('.').unwrap().1);
        }
        assert_eq!(parsed("transformers.x").2, "transformers.x");
        assert_eq!(parsed("transformer.").2, "transformer");
        assert_eq!(parsed("lora_unet").2, "lora_unet");
        assert_eq!(parsed("").2, "");
    }

    #[test]
    fn what_peft_knows_is_what_follows_its_own_piece() {
        let in_peft = |key: &str| ModuleName::parse(key).in_peft;
        assert_eq!(in_peft("base_model.model.transformer.a.b"), "transformer.a.b");
        assert_eq!(in_peft("transformer.base_model.model.a.b"), "a.b");
        assert_eq!(in_peft("transformer.a.b"), "a.b");
    }

    #[test]
    fn processors_are_what_they_work_on() {
        let found = ModuleName::parse("diffusion_model.double_blocks.7.processor.qkv_lora2");
        assert_eq!((found.dialect, found.candidates[0].as_str()), (Dialect::Xlabs, "double_blocks.7.txt_attn.qkv"));
        let found = ModuleName::parse("single_blocks.7.processor.qkv_lora");
        assert_eq!((found.candidates[0].as_str(), found.rows), ("single_blocks.7.linear1", ModuleRows::Leading));
    }
}
