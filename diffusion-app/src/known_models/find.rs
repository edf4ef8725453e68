//! Known models by name.

use super::known_model::{KnownModel, KnownVariant};
use super::table::KNOWN_MODELS;

/// A name that no model has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownName {
    /// No model is called so.
    #[error("there is no file or folder {name:?}, and no known model is called so; known are {}{}", names(), meant(*nearest))]
    Model {
        /// The name.
        name: String,
        /// The known name that is most like it.
        nearest: Option<&'static str>,
    },
    /// The model is not known in this format.
    #[error("{model} is known as {}, not as {variant:?}", variants.join(", "))]
    Variant {
        /// The model's name.
        model: &'static str,
        /// What was given after it.
        variant: String,
        /// What can be given after it.
        variants: Vec<String>,
    },
}

/// From this similarity on, a name is proposed.
const LEAST_SIMILARITY: f64 = 0.7;

fn meant(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

fn names() -> String {
    KNOWN_MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
}

/// The known model of a name, `NAME` or `NAME:VARIANT`.
///
/// ```
/// let (model, variant) = diffusion_app::known_models::find("flux-dev:q8").unwrap();
/// assert_eq!((model.title, variant.name), ("FLUX.1 [dev]", "q8"));
/// ```
///
/// # Errors
/// [`UnknownName`], with the name that is most like it.
pub fn find(text: &str) -> Result<(&'static KnownModel, &'static KnownVariant), UnknownName> {
    let (name, variant) = text.split_once(':').map_or((text, None), |(name, variant)| (name, Some(variant)));
    let lower = name.to_lowercase();
    let Some(model) = KNOWN_MODELS.iter().find(|model| model.name == lower) else {
        let similarity = |model: &&KnownModel| strsim::jaro_winkler(model.name, &lower);
        let nearest = KNOWN_MODELS.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
        let nearest = nearest.filter(|model| similarity(model) >= LEAST_SIMILARITY).map(|model| model.name);
        return Err(UnknownName::Model { name: text.to_owned(), nearest });
    };
    let Some(variant) = variant else { return Ok((model, &model.variants[0])) };
    let found = model.variants.iter().find(|known| known.name.eq_ignore_ascii_case(variant));
    found.map(|found| (model, found)).ok_or_else(|| UnknownName::Variant {
        model: model.name,
        variant: variant.to_owned(),
        variants: model.variants.iter().map(|variant| model.name_of(variant)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_variants_are_found_whatever_their_capitals() {
        let found = |text: &str| find(text).map(|(model, variant)| model.name_of(variant));
        assert_eq!(found("flux-dev").unwrap(), "flux-dev");
        assert_eq!(found("FLUX-Schnell:Q4").unwrap(), "flux-schnell:q4");
        assert_eq!(found("flux-dev:bf16").unwrap(), "flux-dev");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_all_known() {
        let error = find("flux-dve").unwrap_err().to_string();
        assert!(error.contains("did you mean flux-dev?") && error.contains("sd3.5-large-turbo"), "{error}");
        assert!(!find("zzz").unwrap_err().to_string().contains("did you mean"));
        let variant = find("flux-dev:q3").unwrap_err().to_string();
        assert!(variant.contains("flux-dev:q8"), "{variant}");
    }

    #[test]
    fn the_variant_that_fits_is_the_largest_that_does() {
        let (model, _) = find("flux-dev").unwrap();
        let fitting = |gigabytes: u64| model.fitting(gigabytes * 1_000_000_000).map(|variant| variant.name);
        assert_eq!(fitting(64), Some("bf16"));
        assert_eq!(fitting(16), Some("q8"));
        assert_eq!(fitting(1), None);
        let (model, variant) = find("flux-dev").unwrap();
        let advice = model.memory_advice(variant, 16_000_000_000).unwrap();
        assert!(advice.contains("23.8 GB") && advice.ends_with("flux-dev:q8 would fit (12.7 GB)"), "{advice}");
        assert_eq!(model.memory_advice(variant, 64_000_000_000), None);
        assert!(!model.memory_advice(variant, 1_000_000_000).unwrap().contains("would fit"));
    }
}
