//! What a LoRA file holds, and how much of it fits a model.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::PathBuf;

use diffusion_core::files::Shown;
use diffusion_core::weights::ComponentId;

use crate::dialects::Dialect;

/// How many names of a long list are shown.
const SHOWN: usize = 5;

/// What a file holds, and what of it fits a model. Printed, it is a line, and one for each module that does not fit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// The dialects that its names are in, each once.
    pub dialects: Vec<Dialect>,
    /// What stands before the names of its modules, as the file spells it, each once.
    pub prefixes: Vec<String>,
    /// What PEFT calls the adapters in it, where the names of tensors tell, each once.
    pub adapter_names: Vec<String>,
    /// Kinds of adapters, with how many there are: LoRA, DoRA, LoHa, LoKr, difference, replacement, bias.
    pub methods: BTreeMap<&'static str, usize>,
    /// The smallest and the largest rank; `None` if no adapter has one.
    pub ranks: Option<(usize, usize)>,
    /// The smallest and the largest alpha that the file gives; `None` if it gives none.
    pub alphas: Option<(f64, f64)>,
    /// How many modules the file patches.
    pub num_adapters: usize,
    /// How many tensors its adapters take.
    pub num_tensors: usize,
    /// How many of its modules are in each component of the model; empty if it was compared with none.
    pub matched: BTreeMap<ComponentId, usize>,
    /// Modules and tensors that the model does not have.
    pub unexpected: Vec<Unexpected>,
    /// Modules whose weights have other shapes in the model.
    pub mismatched: Vec<Mismatched>,
    /// Modules, as the file spells them, that it gives more inputs than the model has.
    pub widened: Vec<String>,
    /// What is known to do nothing here, and is left out.
    pub without_effect: Vec<WithoutEffect>,
    /// What else there is to say about the file, in sentences: settings that are used, or not, and why.
    pub notes: Vec<String>,
    /// The model that the file seems to be made for, by the names of its modules.
    pub made_for: Option<&'static str>,
}

/// A module or tensor of a file that the model does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unexpected {
    /// Its name, as the file spells it.
    pub name: String,
    /// The components that were searched; empty if the model has none of those that the name may mean.
    pub searched: Vec<ComponentId>,
}

/// A module of a file whose weight, or bias, has another shape in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mismatched {
    /// Its name, as the file spells it.
    pub name: String,
    /// Rows and columns in the model; a convolution's kernel counts among the columns, and a bias has one column.
    pub expected: [usize; 2],
    /// Rows and columns in the file.
    pub found: [usize; 2],
}

/// A module or tensor of a file that is left out because it does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WithoutEffect {
    /// Its name, as the file spells it.
    pub name: String,
    /// Why it does nothing.
    pub reason: Reason,
}

/// Why a part of a file does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It is an embedding of a textual inversion: a word of the prompt, which does not work without it.
    Embedding,
    /// It patches what the component computes after the output that this model takes.
    AfterOutput(ComponentId),
}

impl Report {
    /// Whether every module and tensor of the file fits the model.
    pub fn fits(&self) -> bool {
        self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// How many modules fit the model.
    pub fn num_matched(&self) -> usize {
        self.matched.values().sum()
    }

    pub(crate) fn model_sentence(&self) -> String {
        let extent = if self.num_matched() == 0 { "this model at all" } else { "this model completely" };
        // A few names, such as those of the last layers, are the same in several families.
        let advice = match self.made_for {
            Some(model) if 2 * self.num_matched() < self.num_adapters => {
                format!("{extent}; its names are those of {model}")
            }
            _ => extent.to_owned(),
        };
        format!("{advice}.\n")
    }

    /// The line of what the file holds.
    fn fmt_contents(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = list(self.methods.iter().map(|(method, count)| format!("{count} {method}")));
        write!(f, "{}: {} modules ({methods}) in {} tensors, ", self.path.display(), self.num_adapters, self.num_tensors)?;
        write!(f, "dialect {}", list(self.dialects.iter().map(ToString::to_string)))?;
        if !self.prefixes.is_empty() {
            write!(f, ", names after {}", shown(&self.prefixes))?;
        }
        if !self.adapter_names.is_empty() {
            write!(f, ", adapter {}", shown(&self.adapter_names))?;
        }
        if let Some((smallest, largest)) = self.ranks {
            write!(f, ", rank {}", range(smallest, largest))?;
        }
        match self.alphas {
            Some((smallest, largest)) => write!(f, ", alpha {}", range(smallest, largest)),
            None if self.ranks.is_some() => write!(f, ", no alpha in the tensors"),
            None => Ok(()),
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_contents(f)?;
        if !self.matched.is_empty() {
            let matched = self.matched.iter().map(|(component, count)| format!("{count} in the {component}"));
            write!(f, "; matched {}", list(matched))?;
        }
        if !self.widened.is_empty() {
            write!(f, "; gives more inputs to {}", shown(&self.widened))?;
        }
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        lines(f, &self.without_effect, "without effect")?;
        lines(f, &self.unexpected, "unexpected")?;
        lines(f, &self.mismatched, "of other shapes")
    }
}

/// A line for each of the first items, and one that tells how many there are.
fn lines(f: &mut fmt::Formatter<'_>, items: &[impl Display], what: &str) -> fmt::Result {
    for item in items.iter().take(SHOWN) {
        write!(f, "\n  {item}")?;
    }
    if items.len() > SHOWN { write!(f, "\n  ... {} {what} in all", items.len()) } else { Ok(()) }
}

impl Display for WithoutEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Shown(&self.name);
        match self.reason {
            Reason::Embedding => {
                write!(
                    f,
                    "{name} is a textual-inversion embedding, which is not used: the word that it stands for means nothing here"
                )
            }
            Reason::AfterOutput(component) => {
                write!(f, "{name} has no effect: this model takes the output of the {component} before it")
            }
        }
    }
}

impl Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.searched[..] {
            [] => write!(f, "{} is for a text encoder that this model does not have here", Shown(&self.name)),
            components => {
                write!(f, "{} is nothing in the {}", Shown(&self.name), list(components.iter().map(ToString::to_string)))
            }
        }
    }
}

impl Display for Mismatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, expected, found } = self;
        let name = Shown(name);
        write!(f, "{name} patches a weight of {found:?}, which is {expected:?} in the model")
    }
}

/// The first of many names.
fn shown(names: &[String]) -> String {
    let mut shown = list(names.iter().take(SHOWN).map(|name| Shown(name).to_string()));
    if names.len() > SHOWN {
        shown += ", ...";
    }
    shown
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// One number if both are the same.
fn range<T: Display + PartialEq>(smallest: T, largest: T) -> String {
    if smallest == largest { smallest.to_string() } else { format!("{smallest} to {largest}") }
}
