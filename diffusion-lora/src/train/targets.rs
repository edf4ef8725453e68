//! Which layers are trained.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::LazyLock;

use diffusion_core::weights::PatchTarget;
use fancy_regex::Regex;
use thiserror::Error;

/// Which layers of a network are trained, by the names that diffusers gives them.
#[derive(Clone, Debug)]
pub enum Targets {
    /// Queries, keys, values and outputs of all attentions.
    Attention,
    /// These, and both layers of feed-forward halves.
    AttentionAndFeedForward,
    /// Every linear layer of every block, those that make modulations too.
    All,
    /// Layers in whose name this is found, such as `blocks\.(1[0-9])\.attn`.
    Matching(Regex),
}

/// A regular expression that is read once: networks have a thousand names.
type Pattern = LazyLock<Result<Regex, fancy_regex::Error>>;

/// Layers that attend.
static ATTENTION: Pattern = LazyLock::new(|| {
    Regex::new(r"attn2?\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)$|self_attn\.[a-z_]+$")
});
/// Layers of feed-forward halves; a single block has its second one in `proj_out`, together with attention's output.
static FEED_FORWARD: Pattern = LazyLock::new(|| {
    Regex::new(r"\.(ff|ff_context)\.net\.(0\.proj|2)$|single_transformer_blocks\.\d+\.proj_(mlp|out)$|\.mlp\.fc[12]$")
});
/// Layers of blocks.
static BLOCKS: Pattern =
    LazyLock::new(|| Regex::new(r"^(single_)?transformer_blocks\.\d+\.|^text_model\.encoder\.layers\.\d+\."));

/// A layer to train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetLayer {
    /// As diffusers calls it: `transformer_blocks.0.attn.to_q`.
    pub module: String,
    /// Path of its matrix in the network.
    pub parameter: String,
    /// `[rows, columns]` of the matrix.
    pub shape: [usize; 2],
}

impl Targets {
    /// The layers of a network that are trained, in the order of their paths.
    pub fn layers_of(&self, target: &PatchTarget) -> Vec<TargetLayer> {
        let mut layers: Vec<TargetLayer> = trainable_layers(target).filter(|layer| self.contains(&layer.module)).collect();
        layers.sort_by(|a, b| a.parameter.cmp(&b.parameter));
        layers
    }

    fn contains(&self, module: &str) -> bool {
        match self {
            Self::Attention => found(&ATTENTION, module),
            Self::AttentionAndFeedForward => found(&ATTENTION, module) || found(&FEED_FORWARD, module),
            Self::All => true,
            Self::Matching(pattern) => pattern.is_match(module).unwrap_or(false),
        }
    }
}

/// All linear layers of a network's blocks, by the names that diffusers gives them.
pub fn trainable_layers(target: &PatchTarget) -> impl Iterator<Item = TargetLayer> {
    target.names.iter().filter_map(|(name, tensor)| {
        let module = name.strip_suffix(".weight").filter(|module| found(&BLOCKS, module))?;
        let [part] = tensor.parts.as_slice() else { return None };
        let &[rows, columns] = part.shape.as_slice() else { return None };
        Some(TargetLayer { module: module.to_owned(), parameter: part.parameter.clone(), shape: [rows, columns] })
    })
}

/// Whether one of the patterns above is found in a name.
fn found(pattern: &Pattern, module: &str) -> bool {
    pattern.as_ref().is_ok_and(|pattern| pattern.is_match(module).unwrap_or(false))
}

/// Targets that are neither a name nor a pattern.
#[derive(Clone, Debug, Error)]
#[error("\"{text}\" is neither attention, attention+feed-forward nor all, and no regular expression: {reason}")]
pub struct ParseTargetsError {
    text: String,
    reason: String,
}

impl FromStr for Targets {
    type Err = ParseTargetsError;

    fn from_str(text: &str) -> Result<Self, ParseTargetsError> {
        Ok(match text {
            "attention" => Self::Attention,
            "attention+feed-forward" => Self::AttentionAndFeedForward,
            "all" => Self::All,
            pattern => {
                let failed = |error: fancy_regex::Error| ParseTargetsError { text: text.to_owned(), reason: error.to_string() };
                Self::Matching(Regex::new(pattern).map_err(failed)?)
            }
        })
    }
}

impl Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attention => f.write_str("attention"),
            Self::AttentionAndFeedForward => f.write_str("attention+feed-forward"),
            Self::All => f.write_str("all"),
            Self::Matching(pattern) => f.write_str(pattern.as_str()),
        }
    }
}
