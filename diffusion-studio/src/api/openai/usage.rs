//! How many tokens a picture took.

use diffusion_models::TokenizedText;
use serde::Serialize;
use utoipa::ToSchema;

use crate::refusal::Refusal;
use crate::registry::ModelEntry;
use crate::request::Drawing;
use crate::studio::Studio;

/// How many tokens a picture took, as the model counts: of text, those of the encoder that sees most; of pictures, the patches that
/// the network sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OpenAiUsage)]
pub(super) struct Usage {
    input_tokens: usize,
    input_tokens_details: InputTokens,
    output_tokens: usize,
    total_tokens: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OpenAiInputTokens)]
struct InputTokens {
    text_tokens: usize,
    image_tokens: usize,
}

impl Usage {
    /// The tokens of a drawing with this many images.
    ///
    /// # Errors
    /// [`Refusal`] if they cannot be counted.
    pub(super) async fn of(studio: &Studio, drawing: &Drawing, images: usize) -> Result<Self, Refusal> {
        let (registry, drawing) = (studio.clone(), drawing.clone());
        let count = move || {
            let registry = registry.registry();
            Self::count(&drawing, registry.model(&drawing.model).unwrap_or(registry.default_model()), images)
        };
        studio.blocking(count).await
    }

    fn count(drawing: &Drawing, model: &ModelEntry, images: usize) -> Self {
        let Drawing { prompt, negative_prompt, settings, init, .. } = drawing;
        let texts = [(true, prompt), (settings.is_guided(), negative_prompt)];
        let text_tokens = texts.iter().filter(|(is_read, _)| *is_read).map(|(_, text)| {
            let tokenized = model.checker().model().tokenize(text, settings.max_sequence_length);
            tokenized.map_or(0, |tokenized| text_tokens(&tokenized))
        });
        let image = model.info.geometry.tokens(settings);
        let details = InputTokens { text_tokens: text_tokens.sum(), image_tokens: if init.is_some() { image } else { 0 } };
        let (input_tokens, output_tokens) = (details.text_tokens + details.image_tokens, image * images);
        Self { input_tokens, input_tokens_details: details, output_tokens, total_tokens: input_tokens + output_tokens }
    }
}

/// Tokens of the encoder that sees most, without those that fill up its length.
fn text_tokens(text: &TokenizedText) -> usize {
    let of_encoder = |ids: &Vec<u32>| {
        let Some(last) = ids.last() else { return 0 };
        let filling = ids.iter().rev().take_while(|&id| id == last).count();
        // Encoders that fill up with the end of the text have one that counts.
        ids.len() - filling + 1
    };
    text.ids.iter().map(|(_, ids)| of_encoder(ids)).max().unwrap_or_default()
}
