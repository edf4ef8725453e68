//! What clients write into prompts beside words.

use diffusion_app::infotext::take_lora_tags;

use crate::refusal::Refusal;
use crate::request::LoraRequest;

/// A prompt without what is no part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Prompt {
    /// What the model sees.
    pub(super) text: String,
    /// LoRAs that it chose.
    pub(super) loras: Vec<LoraRequest>,
    /// What has no meaning here, and was left in.
    pub(super) notes: Vec<String>,
}

/// Take `<lora:NAME:WEIGHT>` out of a prompt.
///
/// # Errors
/// [`Refusal`] naming `field` if a tag says something else.
pub(super) fn read_prompt(field: &str, prompt: &str) -> Result<Prompt, Refusal> {
    let (text, tags) = take_lora_tags(prompt).map_err(|error| Refusal::invalid(field, error.to_string()))?;
    let loras = tags.into_iter().map(|tag| LoraRequest { name: tag.name, weight: tag.weight }).collect();
    let mut notes = Vec::new();
    if has_weights(&text) {
        notes.push(format!("{field}: weights such as (word:1.2) are no syntax here; the text was passed on as it is"));
    }
    if text.contains("<hypernet:") {
        notes.push(format!("{field}: there are no hypernetworks here; the text was passed on as it is"));
    }
    Ok(Prompt { text, loras, notes })
}

/// Whether a text has a weight in it: a colon and a number before a closing bracket.
fn has_weights(text: &str) -> bool {
    text.split(')').rev().skip(1).any(|part| {
        let words = part.rsplit_once('(').and_then(|(_, inner)| inner.rsplit_once(':'));
        words.is_some_and(|(words, number)| !words.is_empty() && number.trim().parse::<f64>().is_ok_and(f64::is_finite))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loras_are_taken_and_weights_are_noted() {
        let prompt = read_prompt("prompt", "a (red:1.2) ring <lora:ink:0.7>").unwrap();
        assert_eq!(prompt.text, "a (red:1.2) ring");
        assert_eq!(prompt.loras, [LoraRequest { name: "ink".to_owned(), weight: 0.7 }]);
        assert_eq!(prompt.notes.len(), 1);
        for text in ["a (red) ring", "at 10:30 (or later)", "ratio 1:2 (wide)", "(a: b)", ""] {
            assert_eq!(read_prompt("prompt", text).unwrap().notes, Vec::<String>::new(), "{text}");
        }
        assert_eq!(read_prompt("negative_prompt", "<lora:ink:strong>").unwrap_err().field.as_deref(), Some("negative_prompt"));
    }
}
