//! From the names of a LoRA file to the parameters of a model.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use diffusion_core::checkpoint::{Arrangement, PublishedPart, PublishedTensor};
use diffusion_core::weights::{ComponentId, PatchTarget};

use crate::dialects::{self, Dialect, ModuleName, Spelling};
use crate::factors::Method;
use crate::lora::{Adapter, LoraFile};
use crate::report::{Mismatched, Report, Unexpected};

/// The names of a model, ready to be asked in every spelling.
#[derive(Debug)]
pub(crate) struct Vocabulary<'a> {
    components: Vec<ComponentVocabulary<'a>>,
}

#[derive(Debug)]
struct ComponentVocabulary<'a> {
    target: &'a PatchTarget,
    /// Names of modules by what remains of them when dots become underscores.
    flattened: BTreeMap<String, String>,
}

/// One adapter's place: a parameter, and the rows of the adapter that are its.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) component: ComponentId,
    pub(crate) parameter: String,
    pub(crate) rows: Range<usize>,
    pub(crate) halves_swapped: bool,
    /// Whether the parameter is the module's bias.
    pub(crate) is_bias: bool,
    /// All parameters that the published tensor fuses, with their rows.
    pub(crate) fused: Arc<[(String, Range<usize>)]>,
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
        self.components(module.aliases).into_iter().find_map(|vocabulary| {
            let name = match module.spelling {
                Spelling::Dots => module.name.as_str(),
                Spelling::Underscores => vocabulary.flattened.get(&module.name)?,
            };
            let known = |name: &str| vocabulary.target.names.get(name).is_some();
            let exists = known(name) || known(&format!("{name}.weight")) || known(&format!("{name}.bias"));
            exists.then_some((vocabulary, name))
        })
    }

    /// Where everything in a file goes, and what has no place.
    pub(crate) fn resolve(&self, file: &LoraFile) -> (Vec<Place>, Report) {
        let mut report = Report::of_file(file);
        let mut places = Vec::new();
        let unexpected = |name: &str, searched| Unexpected { name: name.to_owned(), searched };
        let searched = |aliases: &[&str]| self.components(aliases).iter().map(|component| component.target.component).collect();
        report.unexpected.extend(file.unexpected.iter().map(|name| unexpected(name, searched(&[dialects::TRANSFORMER]))));
        for adapter in &file.adapters {
            let Some((vocabulary, name)) = self.find(&adapter.module) else {
                report.unexpected.push(unexpected(&adapter.key, searched(adapter.module.aliases)));
                continue;
            };
            let component = vocabulary.target.component;
            match vocabulary.places(adapter, name) {
                Ok(found) => {
                    let widens = |place: &Place| !place.is_bias && adapter.tensors.shape[1] > vocabulary.columns(name);
                    if found.iter().any(widens) {
                        report.widened.push(adapter.key.clone());
                    }
                    *report.matched.entry(component).or_insert(0) += 1;
                    places.extend(found);
                }
                Err(Mismatch::NoSuchParameter) => report.unexpected.push(unexpected(&adapter.key, vec![component])),
                Err(Mismatch::Shape(mismatched)) => report.mismatched.push(mismatched),
            }
        }
        (places, report)
    }
}

enum Mismatch {
    NoSuchParameter,
    Shape(Mismatched),
}

impl<'a> ComponentVocabulary<'a> {
    fn new(target: &'a PatchTarget) -> Self {
        let modules = target.names.iter().filter_map(|(name, _)| name.strip_suffix(".weight"));
        let flattened = modules.map(|module| (module.replace('.', "_"), module.to_owned())).collect();
        Self { target, flattened }
    }

    /// The tensor of a module that an adapter changes: its weight, unless the whole name is a tensor's.
    fn weight(&self, name: &str) -> Option<&PublishedTensor> {
        self.target.names.get(&format!("{name}.weight")).or_else(|| self.target.names.get(name))
    }

    fn columns(&self, name: &str) -> usize {
        self.weight(name).map_or(0, |tensor| columns(&tensor.parts[0].shape))
    }

    /// The parameters that an adapter patches.
    fn places(&self, adapter: &Arc<Adapter>, name: &str) -> Result<Vec<Place>, Mismatch> {
        let tensors = &adapter.tensors;
        let component = self.target.component;
        let mut places = Vec::new();
        if tensors.method != Method::BiasOnly {
            let published = self.weight(name).ok_or(Mismatch::NoSuchParameter)?;
            check(adapter, published)?;
            places.extend(spread(adapter, component, published, false));
        }
        if let Some(len) = tensors.bias_len() {
            let published = self.target.names.get(&format!("{name}.bias")).ok_or(Mismatch::NoSuchParameter)?;
            let expected = num_rows(published, adapter.module.leading_rows);
            if len != expected {
                let name = adapter.key.clone();
                return Err(Mismatch::Shape(Mismatched { name, expected: [expected, 1], found: [len, 1] }));
            }
            places.extend(spread(adapter, component, published, true));
        }
        Ok(places)
    }
}

/// Whether the shapes of adapter and weight fit together.
fn check(adapter: &Adapter, published: &PublishedTensor) -> Result<(), Mismatch> {
    let found = adapter.tensors.shape;
    let expected = [num_rows(published, adapter.module.leading_rows), columns(&published.parts[0].shape)];
    let widens = adapter.module.dialect == Dialect::BflControl && found[1] > expected[1];
    if found[0] == expected[0] && (found[1] == expected[1] || widens) {
        return match published.arrangement {
            Arrangement::Transposed => Err(Mismatch::NoSuchParameter),
            Arrangement::Same | Arrangement::HalvesSwapped => Ok(()),
        };
    }
    Err(Mismatch::Shape(Mismatched { name: adapter.key.clone(), expected, found }))
}

/// Parts of a fused tensor that its leading rows are: queries, keys and values.
const LEADING_PARTS: usize = 3;

fn parts(published: &PublishedTensor, leading_rows: bool) -> &[PublishedPart] {
    let len = if leading_rows { LEADING_PARTS.min(published.parts.len()) } else { published.parts.len() };
    &published.parts[..len]
}

fn num_rows(published: &PublishedTensor, leading_rows: bool) -> usize {
    parts(published, leading_rows).iter().map(PublishedPart::rows).sum()
}

fn columns(shape: &[usize]) -> usize {
    shape.iter().skip(1).product()
}

/// One place for each parameter that the rows of a published tensor belong to.
fn spread(adapter: &Arc<Adapter>, component: ComponentId, published: &PublishedTensor, is_bias: bool) -> Vec<Place> {
    let mut start = 0;
    let with_rows = |published_part: &PublishedPart| {
        let rows = start..start + published_part.rows();
        start = rows.end;
        (published_part.parameter.clone(), rows)
    };
    let fused: Arc<[(String, Range<usize>)]> = parts(published, adapter.module.leading_rows).iter().map(with_rows).collect();
    let place = |(parameter, rows): &(String, Range<usize>)| Place {
        adapter: adapter.clone(),
        component,
        parameter: parameter.clone(),
        rows: rows.clone(),
        halves_swapped: published.arrangement == Arrangement::HalvesSwapped,
        is_bias,
        fused: fused.clone(),
    };
    fused.iter().map(place).collect()
}
