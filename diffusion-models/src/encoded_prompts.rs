//! Prompts that were encoded before.

use std::collections::VecDeque;

use diffusion_core::weight_change::RecipeStep;
use diffusion_core::{Part, PartChanges};

use crate::family::Prompt;
use crate::settings::Settings;

/// All that an encoded prompt depends on, besides the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PromptKey {
    texts: [Option<String>; 2],
    max_sequence_length: usize,
    guidance_scale: f64,
    /// The changes of the text encoders: part, parameter, recipe.
    changes: Vec<(Part, String, Vec<RecipeStep>)>,
}

impl PromptKey {
    /// `texts` are prompt and negative prompt.
    pub(crate) fn new(texts: [Option<&str>; 2], settings: &Settings, changes: &PartChanges) -> Self {
        let of_encoders = changes.iter().filter(|(part, _)| part.is_text_encoder());
        let changes = of_encoders.flat_map(|(part, changes)| {
            let recipe = |path: &str| changes.get(path).map(|change| change.recipe().to_vec()).unwrap_or_default();
            changes.paths().map(move |path| (*part, path.to_owned(), recipe(path)))
        });
        Self {
            texts: texts.map(|text| text.map(str::to_owned)),
            max_sequence_length: settings.max_sequence_length,
            guidance_scale: settings.guidance_scale,
            changes: changes.collect(),
        }
    }
}

/// The last encoded prompts, newest last.
#[derive(Clone, Debug)]
pub(crate) struct EncodedPrompts<C> {
    kept: VecDeque<(PromptKey, Prompt<C>)>,
}

impl<C> Default for EncodedPrompts<C> {
    fn default() -> Self {
        Self { kept: VecDeque::new() }
    }
}

impl<C: Clone> EncodedPrompts<C> {
    /// A prompt of 512 tokens takes 8 MB.
    const CAPACITY: usize = 8;

    pub(crate) fn get(&self, key: &PromptKey) -> Option<Prompt<C>> {
        self.kept.iter().find(|(kept, _)| kept == key).map(|(_, prompt)| prompt.clone())
    }

    pub(crate) fn keep(&mut self, key: PromptKey, prompt: &Prompt<C>) {
        if self.kept.len() == Self::CAPACITY {
            self.kept.pop_front();
        }
        self.kept.push_back((key, prompt.clone()));
    }
}
