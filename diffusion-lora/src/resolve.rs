//! From the names of a LoRA file to the parameters of a model.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use diffusion_core::Part;
use diffusion_core::checkpoint::{Arrangement, PublishedNames, PublishedPart, PublishedTensor};

use crate::dialects::{Dialect, ModuleName, Spelling};
use crate::factors::Method;
use crate::lora::{Adapter, LoraFile};
use crate::report::{Misshapen, Report, Unmatched};

/// The names of a model, ready to be asked in every spelling.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    parts: BTreeMap<Part, PartVocabulary>,
}

#[derive(Debug)]
struct PartVocabulary {
    names: PublishedNames,
    /// Names of modules by what remains of them when dots become underscores.
    flattened: BTreeMap<String, String>,
}

/// One adapter's place: a parameter, and the rows of the adapter that are its.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) part: Part,
    pub(crate) parameter: String,
    pub(crate) rows: Range<usize>,
    pub(crate) halves_swapped: bool,
    /// Whether the parameter is the module's bias.
    pub(crate) is_bias: bool,
    /// All parameters that the published tensor fuses, with their rows.
    pub(crate) fused: Arc<[(String, Range<usize>)]>,
}

impl Vocabulary {
    pub(crate) fn new(names: BTreeMap<Part, PublishedNames>) -> Self {
        let part = |(part, names): (Part, PublishedNames)| {
            let modules = names.iter().filter_map(|(name, _)| name.strip_suffix(".weight"));
            let flattened = modules.map(|module| (module.replace('.', "_"), module.to_owned())).collect();
            (part, PartVocabulary { names, flattened })
        };
        Self { parts: names.into_iter().map(part).collect() }
    }

    /// The network and the dotted name that are meant.
    fn find<'a>(&'a self, module: &'a ModuleName) -> Option<(Part, &'a PartVocabulary, &'a str)> {
        module.parts.iter().find_map(|part| {
            let vocabulary = self.parts.get(part)?;
            let name = match module.spelling {
                Spelling::Dots => module.name.as_str(),
                Spelling::Underscores => vocabulary.flattened.get(&module.name)?,
            };
            let known = |name: &str| vocabulary.names.get(name).is_some();
            let exists = known(name) || known(&format!("{name}.weight")) || known(&format!("{name}.bias"));
            exists.then_some((*part, vocabulary, name))
        })
    }

    /// Where everything in a file goes, and what has no place.
    pub(crate) fn resolve(&self, file: &LoraFile) -> (Vec<Target>, Report) {
        let mut report = Report::of_file(file);
        let mut targets = Vec::new();
        let not_found = |name: &str, parts: &[Part]| Unmatched {
            name: name.to_owned(),
            searched: parts.iter().copied().filter(|part| self.parts.contains_key(part)).collect(),
        };
        report.unmatched.extend(file.strangers.iter().map(|name| not_found(name, &[Part::Transformer])));
        for adapter in &file.adapters {
            let Some((part, vocabulary, name)) = self.find(&adapter.module) else {
                report.unmatched.push(not_found(&adapter.key, adapter.module.parts));
                continue;
            };
            match vocabulary.place(adapter, part, name) {
                Ok(places) => {
                    let widens = |target: &Target| !target.is_bias && adapter.tensors.shape[1] > vocabulary.columns(name);
                    if places.iter().any(widens) {
                        report.widened.push(adapter.key.clone());
                    }
                    *report.matched.entry(part).or_insert(0) += 1;
                    targets.extend(places);
                }
                Err(Misfit::NoSuchParameter) => report.unmatched.push(not_found(&adapter.key, &[part])),
                Err(Misfit::Shape(misshapen)) => report.misshapen.push(misshapen),
            }
        }
        (targets, report)
    }
}

enum Misfit {
    NoSuchParameter,
    Shape(Misshapen),
}

impl PartVocabulary {
    /// The tensor of a module that an adapter changes: its weight, unless the whole name is a tensor's.
    fn weight(&self, name: &str) -> Option<&PublishedTensor> {
        self.names.get(&format!("{name}.weight")).or_else(|| self.names.get(name))
    }

    fn columns(&self, name: &str) -> usize {
        self.weight(name).map_or(0, |tensor| columns(&tensor.parts[0].shape))
    }

    /// The parameters that an adapter changes.
    fn place(&self, adapter: &Arc<Adapter>, part: Part, name: &str) -> Result<Vec<Target>, Misfit> {
        let tensors = &adapter.tensors;
        let mut targets = Vec::new();
        if tensors.method != Method::BiasOnly {
            let published = self.weight(name).ok_or(Misfit::NoSuchParameter)?;
            check(adapter, published)?;
            targets.extend(spread(adapter, part, published, false));
        }
        if let Some(len) = tensors.bias_len() {
            let published = self.names.get(&format!("{name}.bias")).ok_or(Misfit::NoSuchParameter)?;
            let expected = num_rows(published, adapter.module.leading_rows);
            if len != expected {
                let name = adapter.key.clone();
                return Err(Misfit::Shape(Misshapen { name, expected: [expected, 1], found: [len, 1] }));
            }
            targets.extend(spread(adapter, part, published, true));
        }
        Ok(targets)
    }
}

/// Whether the shapes of adapter and weight fit together.
fn check(adapter: &Adapter, published: &PublishedTensor) -> Result<(), Misfit> {
    let found = adapter.tensors.shape;
    let expected = [num_rows(published, adapter.module.leading_rows), columns(&published.parts[0].shape)];
    let widens = adapter.module.dialect == Dialect::BflControl && found[1] > expected[1];
    if found[0] == expected[0] && (found[1] == expected[1] || widens) {
        return match published.arrangement {
            Arrangement::Transposed => Err(Misfit::NoSuchParameter),
            Arrangement::Same | Arrangement::HalvesSwapped => Ok(()),
        };
    }
    Err(Misfit::Shape(Misshapen { name: adapter.key.clone(), expected, found }))
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

/// One target for each parameter that the rows of a published tensor belong to.
fn spread(adapter: &Arc<Adapter>, part: Part, published: &PublishedTensor, is_bias: bool) -> Vec<Target> {
    let mut start = 0;
    let with_rows = |published_part: &PublishedPart| {
        let rows = start..start + published_part.rows();
        start = rows.end;
        (published_part.parameter.clone(), rows)
    };
    let fused: Arc<[(String, Range<usize>)]> = parts(published, adapter.module.leading_rows).iter().map(with_rows).collect();
    let target = |(parameter, rows): &(String, Range<usize>)| Target {
        adapter: adapter.clone(),
        part,
        parameter: parameter.clone(),
        rows: rows.clone(),
        halves_swapped: published.arrangement == Arrangement::HalvesSwapped,
        is_bias,
        fused: fused.clone(),
    };
    fused.iter().map(target).collect()
}
