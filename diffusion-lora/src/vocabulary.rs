//! From the names of a LoRA file to the components and parameters of a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use diffusion_core::weights::{ComponentId, PatchTarget};

use crate::adapter::{Adapter, LoraFile};
use crate::dialects::{self, ModuleName, Spelling};
use crate::place::{NoPlace, Place, places, widens};
use crate::report::{Reason, Report, Unexpected, WithoutEffect};

/// What CLIP text encoders are called.
const CLIPS: [&str; 2] = ["clip_l", "clip_g"];
/// What the projection of a CLIP's pooled output is called.
const PROJECTIONS: [&str; 2] = ["text_projection", "text_model_text_projection"];

/// An adapter, and one of its places in a model.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) component: ComponentId,
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) place: Place,
}

/// The names of a model, ready to be looked up in every spelling.
#[derive(Debug)]
pub(crate) struct Vocabulary<'a> {
    components: Vec<ComponentVocabulary<'a>>,
}

#[derive(Debug)]
struct ComponentVocabulary<'a> {
    target: &'a PatchTarget,
    /// Names of modules by what remains of them when dots become underscores.
    flattened: BTreeMap<String, &'a str>,
}

impl<'a> Vocabulary<'a> {
    pub(crate) fn new(targets: &'a [PatchTarget]) -> Self {
        Self { components: targets.iter().map(ComponentVocabulary::new).collect() }
    }

    /// The components that go by these names, those of the first name first.
    fn components(&self, aliases: &[&str]) -> Vec<&ComponentVocabulary<'a>> {
        let mut found: Vec<&ComponentVocabulary<'a>> = Vec::new();
        for alias in aliases {
            for component in self.components.iter().filter(|component| component.target.aliases.contains(alias)) {
                if !found.iter().any(|before| before.target.component == component.target.component) {
                    found.push(component);
                }
            }
        }
        found
    }

    /// The component and the dotted name that are meant.
    fn find<'b>(&'b self, module: &'b ModuleName) -> Option<(&'b ComponentVocabulary<'a>, &'b str)> {
        let mut components = self.components(module.aliases).into_iter();
        components.find_map(|component| Some((component, component.dotted(module)?)))
    }

    /// The CLIP whose projection is meant, where the model takes the output before it and so has none.
    ///
    /// Reference: diffusers `pipelines/flux/pipeline_flux.py`, whose encoder is a `CLIPTextModel`, without a projection.
    fn projected(&self, module: &ModuleName) -> Option<ComponentId> {
        let is_clip = |component: &&ComponentVocabulary| component.target.aliases.iter().any(|alias| CLIPS.contains(alias));
        let is_projection = module.candidates.iter().any(|name| PROJECTIONS.contains(&name.as_str()));
        let component = self.components(module.aliases).into_iter().find(is_clip)?;
        is_projection.then_some(component.target.component)
    }

    /// Where everything in a file goes, and a report of what fits and what does not.
    pub(crate) fn resolve(&self, file: &LoraFile) -> (Vec<Resolved>, Report) {
        let mut report = file.contents();
        let mut resolved = Vec::new();
        let unexpected = |name: &str, searched| Unexpected { name: name.to_owned(), searched };
        let searched = |aliases: &[&str]| self.components(aliases).iter().map(|component| component.target.component).collect();
        report.unexpected.extend(file.unexpected.iter().map(|name| unexpected(name, searched(&[dialects::TRANSFORMER]))));
        for adapter in &file.adapters {
            let Some((found, module)) = self.find(&adapter.module) else {
                if let Some(component) = self.projected(&adapter.module) {
                    let reason = Reason::AfterOutput(component);
                    report.without_effect.push(WithoutEffect { name: adapter.key.clone(), reason });
                    continue;
                }
                report.unexpected.push(unexpected(&adapter.key, searched(adapter.module.aliases)));
                continue;
            };
            let PatchTarget { component, ref names, .. } = *found.target;
            match places(adapter, names, module) {
                Ok(places) => {
                    if widens(adapter, names, module) {
                        report.widened.push(adapter.key.clone());
                    }
                    *report.matched.entry(component).or_insert(0) += 1;
                    resolved.extend(places.into_iter().map(|place| Resolved { component, adapter: adapter.clone(), place }));
                }
                Err(NoPlace::NoParameter) => report.unexpected.push(unexpected(&adapter.key, vec![component])),
                Err(NoPlace::Shape(mismatched)) => report.mismatched.push(mismatched),
            }
        }
        (resolved, report)
    }
}

impl<'a> ComponentVocabulary<'a> {
    fn new(target: &'a PatchTarget) -> Self {
        let modules = target.names.iter().filter_map(|(name, _)| name.strip_suffix(".weight"));
        let flattened = modules.map(|module| (module.replace('.', "_"), module)).collect();
        Self { target, flattened }
    }

    /// The dotted name of a module, if the component has it.
    fn dotted<'b>(&'b self, module: &'b ModuleName) -> Option<&'b str> {
        let is_known = |name: &str| self.target.names.get(name).is_some();
        let exists = |name: &str| is_known(name) || is_known(&format!("{name}.weight")) || is_known(&format!("{name}.bias"));
        module.candidates.iter().find_map(|name| {
            // A name without a dot may be flattened even where its prefix is not.
            let name = match module.spelling {
                Spelling::Dots if name.contains('.') || exists(name) => name.as_str(),
                _ => *self.flattened.get(name)?,
            };
            exists(name).then_some(name)
        })
    }
}
