//! Texts that were encoded before.

use std::collections::VecDeque;

use diffusion_core::weights::{ComponentId, ComponentPatches, PatchKey, PatchMode, PatchStrength};

use crate::prompt_encoder::EncodedText;

/// All that an encoded text depends on, besides the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TextKey {
    text: String,
    max_sequence_length: usize,
    /// The patches of the text encoders: component, parameter, key.
    patches: Vec<(ComponentId, String, Vec<PatchKey>)>,
    /// How they reach the weights, which changes last bits; `None` without patches.
    mode: Option<PatchMode>,
}

impl TextKey {
    /// `None` if the strength of a patch may be turned at any time, so that the text has to be encoded whenever it is needed.
    /// `is_text_encoder` tells which components encode texts.
    pub(crate) fn new(
        text: &str,
        max_sequence_length: usize,
        patches: &ComponentPatches,
        mode: PatchMode,
        is_text_encoder: impl Fn(ComponentId) -> bool,
    ) -> Option<Self> {
        let of_encoders = patches.iter().filter(|(component, _)| is_text_encoder(**component));
        let patches: Vec<_> = of_encoders
            .flat_map(|(component, patches)| {
                let key = |path: &str| patches.get(path).map(|patch| patch.key().to_vec()).unwrap_or_default();
                patches.paths().map(move |path| (*component, path.to_owned(), key(path)))
            })
            .collect();
        let is_fixed = |key: &PatchKey| matches!(key.strength, PatchStrength::Fixed(_));
        let fixed = patches.iter().all(|(_, _, keys)| keys.iter().all(is_fixed));
        let mode = (!patches.is_empty()).then_some(mode);
        fixed.then(|| Self { text: text.to_owned(), max_sequence_length, patches, mode })
    }
}

/// The last encoded texts, newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct PromptCache {
    kept: VecDeque<(TextKey, EncodedText)>,
}

impl PromptCache {
    /// A text of 512 tokens takes 8 MB.
    const CAPACITY: usize = 16;

    pub(crate) fn get(&self, key: &TextKey) -> Option<EncodedText> {
        self.kept.iter().find(|(kept, _)| kept == key).map(|(_, text)| text.clone())
    }

    pub(crate) fn keep(&mut self, key: TextKey, text: EncodedText) {
        if self.kept.len() == Self::CAPACITY {
            self.kept.pop_front();
        }
        self.kept.push_back((key, text));
    }
}
