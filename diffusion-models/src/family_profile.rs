//! How the files of a family of models are known.

use diffusion_core::weights::ComponentId;

use crate::components::Component;

/// How the files of a family of models are known, and what they hold.
#[derive(Debug)]
pub(crate) struct FamilyProfile {
    /// What people call the family.
    pub(crate) name: &'static str,
    /// What its denoising network is called in sentences: `a FLUX.1 transformer`.
    pub(crate) transformer: &'static str,
    /// Parts of tensor names that its network has.
    pub(crate) signs: &'static [&'static str],
    /// Parts of tensor names that only relatives with the same signs have.
    pub(crate) counter_signs: &'static [&'static str],
    /// diffusers' class of its denoising network.
    pub(crate) transformer_class: &'static str,
    /// Class names in `model_index.json`: pipelines whose components are those of the model, the usual one first.
    pub(crate) pipeline_classes: &'static [&'static str],
    /// Other pipelines of the family, and what they do that its models do not.
    pub(crate) other_pipelines: &'static [(&'static str, &'static str)],
    /// Its components, in the order in which they work.
    pub(crate) components: &'static [Component],
    /// What GGUF files call it, and a tensor that files with the names of the original release have.
    pub(crate) gguf: (&'static str, &'static str),
}

impl FamilyProfile {
    /// Where the component of this id lies, if the family has it.
    pub(crate) fn component(&self, id: ComponentId) -> Option<&'static Component> {
        self.components.iter().find(|component| component.id == id)
    }
}
