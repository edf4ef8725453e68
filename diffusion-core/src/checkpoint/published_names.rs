//! The names of published layouts, asked the other way round: what a name means in a module.

use std::collections::BTreeMap;

use super::arrangement::Arrangement;
use super::key_map::KeyMap;
use super::layout::Layout;

/// What files call the parameters of one network, in every layout that it is published in.
///
/// Adapters name the weights that they change by these names, in the layout that their trainer used, which need not be the
/// one that the base model is in.
#[derive(Clone, Debug, Default)]
pub struct PublishedNames {
    tensors: BTreeMap<String, PublishedTensor>,
    shapes: BTreeMap<String, Vec<usize>>,
    layouts: Vec<(Layout, KeyMap, String)>,
}

/// A tensor of a published layout in terms of a module's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedTensor {
    /// The parameters that its rows belong to, in their order; one, unless it is fused.
    pub parts: Vec<PublishedPart>,
    /// How its values lie.
    pub arrangement: Arrangement,
}

/// Rows of a [`PublishedTensor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPart {
    /// Path of the parameter in the module.
    pub parameter: String,
    /// Its shape, outermost dimension first.
    pub shape: Vec<usize>,
}

impl PublishedPart {
    /// Length of the first dimension.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
}

impl PublishedNames {
    /// The names of a module's parameters, whose [shapes](crate::weights::parameter_shapes) these are, in no layout yet.
    pub fn new(shapes: BTreeMap<String, Vec<usize>>) -> Self {
        Self { tensors: BTreeMap::new(), shapes, layouts: Vec::new() }
    }

    /// Names that a layout gives, each after `prefix`. Of several of one kind, the first is the one that new files have.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout, map: &KeyMap, prefix: &str) -> Self {
        for (name, parts, arrangement) in map.sources(self.shapes.keys().map(String::as_str)) {
            let part = |parameter: String| Some(PublishedPart { shape: self.shapes.get(&parameter)?.clone(), parameter });
            // A fused tensor with a part that this model lacks is not in its files.
            if let Some(parts) = parts.into_iter().map(part).collect::<Option<Vec<_>>>() {
                self.tensors.insert(format!("{prefix}{name}"), PublishedTensor { parts, arrangement });
            }
        }
        self.layouts.push((layout, map.clone(), prefix.to_owned()));
        self
    }

    /// What a layout calls the tensor that a parameter's rows are in; `None` if it is not published in this layout.
    pub fn name_of(&self, parameter: &str, layout: Layout) -> Option<String> {
        let of_layout = self.layouts.iter().filter(|(kind, ..)| *kind == layout);
        let mut names = of_layout.filter_map(|(_, map, prefix)| Some(format!("{prefix}{}", map.source(parameter)?)));
        names.find(|name| self.tensors.contains_key(name))
    }

    /// The tensor of a published name.
    pub fn get(&self, name: &str) -> Option<&PublishedTensor> {
        self.tensors.get(name)
    }

    /// All names with their tensors.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PublishedTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}
