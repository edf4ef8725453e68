//! Where components are, and how they compute there.

use burn::tensor::Device;
use diffusion_core::weights::{ComponentId, ComponentPlace, Placement};
use diffusion_core::{Precision, Residency};

use super::Pipeline;
use crate::component_file::ComponentFile;
use crate::components::{Stage, TRANSFORMER};
use crate::pipeline_options::PipelineOptions;
use crate::prompt_cache::PromptCache;

impl Pipeline {
    /// The device that it draws on, that of the denoising network: noise, latents and encoded prompts are there.
    pub fn device(&self) -> &Device {
        self.device_of(TRANSFORMER)
    }

    /// The device of a component.
    pub fn device_of(&self, component: ComponentId) -> &Device {
        self.options.device_of(component)
    }

    /// Where a component is loaded, and how it computes there.
    pub fn place_of(&self, component: ComponentId) -> ComponentPlace {
        self.options.place_of(component)
    }

    /// How the model is opened, with what was set since.
    pub fn options(&self) -> &PipelineOptions {
        &self.options
    }

    /// Whether the text encoders have devices of their own, and take no memory of what comes after them.
    pub fn has_text_encoders_apart(&self) -> bool {
        let components = self.model.components().into_iter().map(ComponentFile::component);
        text_encoders_are_apart(&components.map(|component| (component.stage, self.device_of(component.id))).collect::<Vec<_>>())
    }

    /// Put components elsewhere, or compute otherwise there; what is loaded is loaded again when it is needed.
    pub fn set_placement(&mut self, placement: Placement) {
        if placement != self.options.placement {
            self.options.placement = placement;
            self.unload();
        }
    }

    /// Keep large networks in memory, or stream them; what is loaded otherwise is loaded again when it is needed. Components with a
    /// place of their own are left alone.
    pub fn set_residency(&mut self, residency: Residency) {
        if residency != self.options.residency {
            self.options.residency = residency;
            self.unload();
        }
    }

    /// Compute in another precision; what is loaded otherwise is loaded again when it is needed. Components with a place of their own
    /// are left alone.
    pub fn set_precision(&mut self, precision: Precision) {
        if precision != self.options.precision {
            self.options.precision = precision;
            self.unload();
        }
    }

    /// Forget what is loaded, and what was computed with it.
    fn unload(&mut self) {
        self.forget_identity_of_encoders();
        self.prompt_cache = PromptCache::default();
        (self.prompt_encoder, self.denoiser, self.decoder) = (None, None, None);
    }
}

/// Whether no text encoder has the device of something else.
fn text_encoders_are_apart<D: PartialEq>(places: &[(Stage, D)]) -> bool {
    let (encoders, others): (Vec<_>, Vec<_>) = places.iter().partition(|(stage, _)| *stage == Stage::Text);
    encoders.iter().all(|(_, encoder)| others.iter().all(|(_, other)| encoder != other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_encoders_are_apart_where_nothing_else_is() {
        let apart = |clip, t5, transformer, vae| {
            text_encoders_are_apart(&[
                (Stage::Text, clip),
                (Stage::Text, t5),
                (Stage::Denoise, transformer),
                (Stage::Decode, vae),
            ])
        };
        assert!(apart("cpu", "cpu", "cuda:0", "cuda:1"));
        assert!(apart("cpu", "cuda:2", "cuda:0", "cuda:0"));
        assert!(!apart("cpu", "cpu", "cpu", "cpu"));
        assert!(!apart("cpu", "cuda:0", "cuda:0", "cuda:1"));
        assert!(!apart("cpu", "cpu", "cuda:0", "cpu"));
    }
}
