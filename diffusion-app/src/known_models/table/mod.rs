//! The known models, as data. A new one is an entry here.
//!
//! Bytes in f16, bf16 and f32 follow from the numbers of parameters, which the manifests of `diffusion-models` have; those of
//! GGUF files are the published ones, and those of fp8 files are one byte a parameter where nothing better is known.

mod black_forest_labs;
mod finetunes;
mod shared;
mod stability_ai;

use super::known_model::KnownModel;

/// All known models, the released ones first.
pub static KNOWN_MODELS: &[KnownModel] = &[
    black_forest_labs::FLUX_DEV,
    black_forest_labs::FLUX_SCHNELL,
    stability_ai::SD35_MEDIUM,
    stability_ai::SD35_LARGE,
    stability_ai::SD35_LARGE_TURBO,
    stability_ai::SD3_MEDIUM,
    black_forest_labs::FLUX_KREA_DEV,
    finetunes::SRPO,
    finetunes::FLEX_1_ALPHA,
    finetunes::FLUX_LITE,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use diffusion_core::weights::ComponentId;
    use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, TRANSFORMER, VAE};

    use super::*;
    use crate::hub::HubReference;

    #[test]
    fn every_entry_can_be_fetched_and_opened() {
        let mut names = BTreeSet::new();
        for model in KNOWN_MODELS {
            assert!(HubReference::parse(model.repository).is_some_and(|page| page.file.is_none()), "{}", model.name);
            for variant in model.variants {
                let name = model.name_of(variant);
                assert!(names.insert(name.clone()), "{name} is there twice");
                assert!(variant.parts.iter().all(|part| part.reference().to_string() == part.source), "{name}");
                assert_eq!(variant.parts.iter().filter(|part| part.component == TRANSFORMER).count(), 1, "{name}");
                let has: Vec<ComponentId> = variant.sizes().map(|(id, _)| id).collect();
                let needed: &[ComponentId] =
                    if model.name.starts_with("sd3") { &[CLIP_L, CLIP_G, T5XXL, VAE] } else { &[CLIP_L, T5XXL, VAE] };
                assert!(needed.iter().all(|id| has.contains(id)), "{name} lacks one of {needed:?}");
                let distinct: BTreeSet<_> = has.iter().collect();
                assert_eq!(distinct.len(), has.len(), "{name} has a component twice");
            }
            assert!(model.variants.windows(2).all(|pair| pair[0].memory() >= pair[1].memory()), "{}: largest first", model.name);
        }
    }
}
