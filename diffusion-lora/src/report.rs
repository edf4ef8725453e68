//! What a LoRA file holds, and how much of it fits the model.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::PathBuf;

use diffusion_core::weights::ComponentId;

use crate::dialects::{self, Dialect};
use crate::lora::LoraFile;

/// What a file holds, and what of it fits a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// The dialects that its names are in.
    pub dialects: Vec<Dialect>,
    /// Kinds of adapters, with how many there are: LoRA, DoRA, LoHa, LoKr, difference, replacement, bias.
    pub methods: BTreeMap<&'static str, usize>,
    /// The smallest and largest rank.
    pub ranks: Option<(usize, usize)>,
    /// The smallest and largest alpha that the file gives.
    pub alphas: Option<(f64, f64)>,
    /// How many modules it is about.
    pub num_adapters: usize,
    /// How many tensors those take.
    pub num_tensors: usize,
    /// How many of its modules are in each network of the model.
    pub matched: BTreeMap<ComponentId, usize>,
    /// Modules and tensors that the model has no place for.
    pub unexpected: Vec<Unexpected>,
    /// Modules whose weights have other shapes in the model.
    pub mismatched: Vec<Mismatched>,
    /// Modules that it gives more inputs than the model has.
    pub widened: Vec<String>,
    /// The model that it seems to be made for.
    pub made_for: Option<&'static str>,
}

/// A module or tensor of a file that the model has no place for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected {
    /// As the file spells it.
    pub name: String,
    /// The networks that were searched and are there; empty if it was meant for one that is not loaded.
    pub searched: Vec<ComponentId>,
}

/// A module of a file whose weight has another shape in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatched {
    /// As the file spells it.
    pub name: String,
    /// Rows and columns in the model.
    pub expected: [usize; 2],
    /// Rows and columns in the file.
    pub found: [usize; 2],
}

impl Report {
    pub(crate) fn of_file(file: &LoraFile) -> Self {
        let mut methods = BTreeMap::new();
        for adapter in &file.adapters {
            *methods.entry(adapter.tensors.method.name(adapter.tensors.has_magnitude())).or_insert(0) += 1;
        }
        let mut dialects: Vec<Dialect> = file.adapters.iter().map(|adapter| adapter.module.dialect).collect();
        dialects.sort_unstable();
        dialects.dedup();
        let ranks = file.adapters.iter().filter_map(|adapter| adapter.tensors.rank);
        let alphas = file.adapters.iter().filter_map(|adapter| adapter.tensors.alpha);
        let of_transformer = file.adapters.iter().filter(|adapter| adapter.module.aliases.contains(&dialects::TRANSFORMER));
        Self {
            path: file.path.clone(),
            dialects,
            methods,
            ranks: ranks.clone().min().zip(ranks.max()),
            alphas: alphas.clone().reduce(f64::min).zip(alphas.reduce(f64::max)),
            num_adapters: file.adapters.len(),
            num_tensors: file.adapters.iter().map(|adapter| adapter.tensors.num_tensors()).sum(),
            matched: BTreeMap::new(),
            unexpected: Vec::new(),
            mismatched: Vec::new(),
            widened: Vec::new(),
            made_for: dialects::made_for(of_transformer.map(|adapter| adapter.key.as_str())),
        }
    }

    /// Whether every tensor has its place.
    pub fn fits(&self) -> bool {
        self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// How many modules have their place.
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
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// How many names of a long list are shown.
        const SHOWN: usize = 5;
        let list = |items: Vec<String>| items.join(", ");
        let methods = list(self.methods.iter().map(|(method, count)| format!("{count} {method}")).collect());
        let dialects = list(self.dialects.iter().map(ToString::to_string).collect());
        write!(f, "{}: {} modules ({methods}) in {} tensors, ", self.path.display(), self.num_adapters, self.num_tensors)?;
        write!(f, "dialect {dialects}")?;
        if let Some((smallest, largest)) = self.ranks {
            write!(f, ", rank {}", range(smallest, largest))?;
        }
        match self.alphas {
            Some((smallest, largest)) => write!(f, ", alpha {}", range(smallest, largest))?,
            None if self.ranks.is_some() => write!(f, ", no alpha in the tensors")?,
            None => {}
        }
        if !self.matched.is_empty() {
            let matched = self.matched.iter().map(|(component, count)| format!("{count} in the {component}"));
            write!(f, "; matched {}", list(matched.collect()))?;
        }
        if !self.widened.is_empty() {
            write!(f, "; gives more inputs to {}", list(self.widened.clone()))?;
        }
        for unexpected in self.unexpected.iter().take(SHOWN) {
            let places = match &unexpected.searched[..] {
                [] => "is for a text encoder that this model does not have here".to_owned(),
                components => format!("is nothing in the {}", list(components.iter().map(ToString::to_string).collect())),
            };
            write!(f, "\n  {} {places}", unexpected.name)?;
        }
        if self.unexpected.len() > SHOWN {
            write!(f, "\n  ... {} unexpected in all", self.unexpected.len())?;
        }
        for Mismatched { name, expected, found } in self.mismatched.iter().take(SHOWN) {
            write!(f, "\n  {name} changes a weight of {found:?}, which is {expected:?} in the model")?;
        }
        if self.mismatched.len() > SHOWN {
            write!(f, "\n  ... {} of other shapes in all", self.mismatched.len())?;
        }
        Ok(())
    }
}

/// One number if both are the same.
fn range<T: Display + PartialEq>(smallest: T, largest: T) -> String {
    if smallest == largest { smallest.to_string() } else { format!("{smallest} to {largest}") }
}
