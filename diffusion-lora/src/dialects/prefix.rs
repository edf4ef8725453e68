//! The grammar of what stands before the name of a module: known pieces, in any order, with any separators between them.

use super::dialect::Dialect;
use super::network::{
    Aliases, CLIP_G, CLIP_L, DENOISER, FIRST_ENCODER, SECOND_ENCODER, Spelling, T5XXL, THIRD_ENCODER, TRANSFORMER,
};

/// What stands before the name of a module, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix<'a> {
    pub(super) dialect: Dialect,
    pub(super) spelling: Spelling,
    /// The network that is meant; the denoising network where nothing tells.
    pub(super) aliases: Aliases,
    /// As the file spells it.
    pub(super) text: &'a str,
    /// The name of the module, without separators at its ends.
    pub(super) module: &'a str,
    /// The name of the module as PEFT knows it: all that follows its own piece.
    pub(super) in_peft: &'a str,
}

/// What a piece of a prefix says.
#[derive(Clone, Copy)]
enum Piece {
    /// PEFT's own; nothing about the network.
    Peft,
    /// A wrapper around the network, such as that of compiled modules.
    Wrapper,
    /// The network, and who writes it so.
    Network(Dialect, Spelling, Aliases),
}

const fn dotted(dialect: Dialect, aliases: Aliases) -> Piece {
    Piece::Network(dialect, Spelling::Dots, aliases)
}

const fn flat(dialect: Dialect, aliases: Aliases) -> Piece {
    Piece::Network(dialect, Spelling::Underscores, aliases)
}

/// Pieces, each of which ends where a separator follows.
const PIECES: &[(&str, Piece)] = &[
    ("base_model.model", Piece::Peft),
    ("model", Piece::Wrapper),
    ("module", Piece::Wrapper),
    ("orig_mod", Piece::Wrapper),
    ("text_encoders", Piece::Wrapper),
    ("transformer", dotted(Dialect::Diffusers, DENOISER)),
    ("unet", dotted(Dialect::Diffusers, DENOISER)),
    ("diffusion_model", dotted(Dialect::ComfyUi, DENOISER)),
    ("text_encoder", dotted(Dialect::Diffusers, FIRST_ENCODER)),
    ("text_encoder_2", dotted(Dialect::Diffusers, SECOND_ENCODER)),
    ("text_encoder_3", dotted(Dialect::Diffusers, THIRD_ENCODER)),
    ("clip_l", dotted(Dialect::ComfyUi, CLIP_L)),
    ("clip_g", dotted(Dialect::ComfyUi, CLIP_G)),
    ("t5xxl", dotted(Dialect::ComfyUi, T5XXL)),
    ("lora_unet", flat(Dialect::Kohya, DENOISER)),
    ("lora_transformer", flat(Dialect::OneTrainer, DENOISER)),
    ("lycoris", flat(Dialect::Lycoris, DENOISER)),
    ("lora_te", flat(Dialect::Kohya, FIRST_ENCODER)),
    ("lora_te1", flat(Dialect::Kohya, FIRST_ENCODER)),
    ("lora_te2", flat(Dialect::Kohya, SECOND_ENCODER)),
    ("lora_te3", flat(Dialect::Kohya, THIRD_ENCODER)),
];

/// What keeps pieces apart. Names of modules neither start nor end with one.
pub(super) const SEPARATORS: [char; 2] = ['.', '_'];

impl<'a> Prefix<'a> {
    /// Take pieces from the start of `key` as long as they say the same.
    pub(super) fn parse(key: &'a str) -> Self {
        let mut rest = key.trim_start_matches(SEPARATORS);
        let (mut network, mut in_peft) = (None, None);
        while let Some((word, piece, after)) = next_piece(rest) {
            match (piece, network) {
                (Piece::Peft, _) => in_peft = Some(after),
                (Piece::Wrapper, _) => {}
                (Piece::Network(dialect, spelling, aliases), None) => network = Some((dialect, spelling, aliases)),
                (Piece::Network(dialect, spelling, aliases), Some((first, before, named))) if aliases == named => {
                    // Who flattens names says it last.
                    network = if spelling == before { Some((first, before, named)) } else { Some((dialect, spelling, named)) };
                }
                // Text encoders hold their layers in a `transformer` of their own.
                (Piece::Network(..), Some(_)) if word == TRANSFORMER => {}
                (Piece::Network(..), Some(_)) => break,
            }
            rest = after;
        }
        let (dialect, spelling, aliases) = network.unwrap_or((Dialect::Bare, Spelling::Dots, DENOISER));
        let trimmed = |name: &'a str| name.trim_matches(SEPARATORS);
        Self {
            dialect: if in_peft.is_some() { Dialect::Peft } else { dialect },
            spelling,
            aliases,
            text: &key[..key.len() - rest.len()],
            module: trimmed(rest),
            in_peft: trimmed(in_peft.unwrap_or(rest)),
        }
    }
}

/// The piece that a text starts with, and what follows it and its separators.
fn next_piece(text: &str) -> Option<(&'static str, Piece, &str)> {
    PIECES.iter().find_map(|&(word, piece)| {
        let after = text.strip_prefix(word)?;
        let ends_here = match piece {
            Piece::Network(_, Spelling::Underscores, _) => after.starts_with(SEPARATORS),
            _ => after.starts_with('.'),
        };
        let after = after.trim_start_matches(SEPARATORS);
        (ends_here && !after.is_empty()).then_some((word, piece, after))
    })
}

/// Pieces as names have them whose dots became underscores. Modules may start so too, hence these are only tried.
const FLATTENED: &[&str] = &["base_model_model_", "model_diffusion_model_", "diffusion_model_", "transformer_"];

/// The name of a module with underscores, and what it may be if some of it are pieces of a prefix.
pub(super) fn flattened_candidates(module: &str) -> Vec<String> {
    let mut candidates = vec![module.replace('.', "_")];
    while let Some(shorter) = FLATTENED.iter().find_map(|piece| candidates.last()?.strip_prefix(piece)) {
        let shorter = shorter.trim_start_matches('_').to_owned();
        candidates.push(shorter);
    }
    candidates
}
