//! Names in files to names in modules, as data.

use std::collections::BTreeMap;

use super::arrangement::Arrangement;
use super::error::CheckpointError;
use super::stored_tensor::StoredTensor;

/// How the tensors of one published layout become the parameters of a module.
///
/// A rule matches the leading dot-separated segments of a name; what follows them is kept. `{i}` and `{j}` stand for
/// one index each. The first rule that matches wins; a name that no rule matches stays as it is.
///
/// ```
/// use diffusion_core::checkpoint::KeyMap;
///
/// let map = KeyMap::new()
///     .split("joint_blocks.{i}.attn.qkv", [("blocks.{i}.query", 64), ("blocks.{i}.key", 64), ("blocks.{i}.value", 64)])
///     .rename("joint_blocks.{i}", "blocks.{i}")
///     .ignore("logit_scale");
/// assert_eq!(map.targets("joint_blocks.7.mlp.weight"), ["blocks.7.mlp.weight"]);
/// assert_eq!(map.targets("joint_blocks.7.attn.qkv.bias")[1], "blocks.7.key.bias");
/// assert!(map.targets("logit_scale").is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeyMap {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    from: String,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Rename(String),
    Split(Vec<(String, usize)>),
    SwapHalves(String),
    Transpose(String),
    Ignore,
}

impl Action {
    fn arrangement(&self) -> Arrangement {
        match self {
            Self::SwapHalves(_) => Arrangement::HalvesSwapped,
            Self::Transpose(_) => Arrangement::Transposed,
            Self::Rename(_) | Self::Split(_) | Self::Ignore => Arrangement::Same,
        }
    }
}

impl KeyMap {
    /// A map without rules: every name stays as it is.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, from: &str, action: Action) -> Self {
        self.rules.push(Rule { from: from.to_owned(), action });
        self
    }

    /// A weight with another name.
    pub fn rename(self, from: &str, to: &str) -> Self {
        self.with(from, Action::Rename(to.to_owned()))
    }

    /// Many renames: a table of (from, to).
    pub fn rename_all(self, table: &[(&str, &str)]) -> Self {
        table.iter().fold(self, |map, (from, to)| map.rename(from, to))
    }

    /// A fused weight whose rows belong to several: (to, number of rows) in the order of the rows.
    pub fn split<'a>(self, from: &str, parts: impl IntoIterator<Item = (&'a str, usize)>) -> Self {
        let parts = parts.into_iter().map(|(to, rows)| (to.to_owned(), rows)).collect();
        self.with(from, Action::Split(parts))
    }

    /// A weight whose two halves of rows are in the other order.
    pub fn swap_halves(self, from: &str, to: &str) -> Self {
        self.with(from, Action::SwapHalves(to.to_owned()))
    }

    /// A matrix that is stored transposed.
    pub fn transpose(self, from: &str, to: &str) -> Self {
        self.with(from, Action::Transpose(to.to_owned()))
    }

    /// A tensor that is in files and that no part of the model takes.
    pub fn ignore(self, from: &str) -> Self {
        self.with(from, Action::Ignore)
    }

    /// What a name in a file becomes: one name, several for a fused weight, none for an ignored one.
    pub fn targets(&self, name: &str) -> Vec<String> {
        self.find(name).map_or_else(
            || vec![name.to_owned()],
            |(rule, matched)| match &rule.action {
                Action::Rename(to) | Action::SwapHalves(to) | Action::Transpose(to) => vec![matched.fill(to)],
                Action::Split(parts) => parts.iter().map(|(to, _)| matched.fill(to)).collect(),
                Action::Ignore => Vec::new(),
            },
        )
    }

    /// Rename all tensors of a checkpoint.
    pub(super) fn apply(
        &self,
        tensors: BTreeMap<String, StoredTensor>,
    ) -> Result<BTreeMap<String, StoredTensor>, CheckpointError> {
        let mut renamed: BTreeMap<String, StoredTensor> = BTreeMap::new();
        for (name, tensor) in tensors {
            for (target, tensor) in self.arrange(name, tensor)? {
                if let Some(first) = renamed.get(&target) {
                    return Err(CheckpointError::Twice {
                        path: first.path().to_owned(),
                        first: first.name().to_owned(),
                        second: tensor.name().to_owned(),
                        target,
                    });
                }
                renamed.insert(target, tensor);
            }
        }
        Ok(renamed)
    }

    fn arrange(&self, name: String, tensor: StoredTensor) -> Result<Vec<(String, StoredTensor)>, CheckpointError> {
        let Some((rule, matched)) = self.find(&name) else {
            return Ok(vec![(name, tensor)]);
        };
        let even_rows = |tensor: &StoredTensor| tensor.shape().first().is_some_and(|rows| rows % 2 == 0);
        Ok(match &rule.action {
            Action::SwapHalves(to) if even_rows(&tensor) => vec![(matched.fill(to), tensor.with_halves_swapped())],
            Action::Transpose(to) if tensor.shape().len() == 2 => vec![(matched.fill(to), tensor.transposed())],
            // As it is, too, a vector or an odd number of rows: the shape check of loading tells what is wrong with it.
            Action::Rename(to) | Action::SwapHalves(to) | Action::Transpose(to) => vec![(matched.fill(to), tensor)],
            Action::Split(parts) => {
                let expected: usize = parts.iter().map(|(_, rows)| rows).sum();
                let found = tensor.shape().first().copied().unwrap_or(1);
                if found != expected {
                    return Err(CheckpointError::Rows {
                        path: tensor.path().to_owned(),
                        tensor: tensor.name().to_owned(),
                        expected,
                        found,
                    });
                }
                let mut start = 0;
                let part = |(to, rows): &(String, usize)| {
                    let part = tensor.clone().rows(start..start + rows)?;
                    start += rows;
                    Ok((matched.fill(to), part))
                };
                parts.iter().map(part).collect::<Result<_, _>>()?
            }
            Action::Ignore => Vec::new(),
        })
    }

    /// The map the other way round: the names that become parameters among `parameters`, with what they become.
    pub(super) fn sources<'p>(&self, parameters: impl Iterator<Item = &'p str>) -> Vec<(String, Vec<String>, Arrangement)> {
        let mut sources = BTreeMap::new();
        for parameter in parameters {
            for (name, targets) in self.sources_of(parameter) {
                let arrangement = self.find(&name).map_or(Arrangement::Same, |(rule, _)| rule.action.arrangement());
                sources.insert(name, (targets, arrangement));
            }
        }
        sources.into_iter().map(|(name, (targets, arrangement))| (name, targets, arrangement)).collect()
    }

    /// The name that becomes a parameter, by the first rule that there is for it.
    pub(super) fn source(&self, parameter: &str) -> Option<String> {
        self.sources_of(parameter).next().map(|(name, _)| name)
    }

    /// The names that become a parameter, by rules first, with all that each becomes.
    fn sources_of(&self, parameter: &str) -> impl Iterator<Item = (String, Vec<String>)> {
        let by_rules = self.rules.iter().flat_map(move |rule| {
            let targets = match &rule.action {
                Action::Rename(to) | Action::SwapHalves(to) | Action::Transpose(to) => vec![to],
                Action::Split(parts) => parts.iter().map(|(to, _)| to).collect(),
                Action::Ignore => Vec::new(),
            };
            targets.into_iter().filter_map(move |to| Some(Match::of(to, parameter)?.fill(&rule.from)))
        });
        by_rules.chain([parameter.to_owned()]).filter_map(move |name| {
            let targets = self.targets(&name);
            targets.iter().any(|target| target == parameter).then_some((name, targets))
        })
    }

    fn find<'n>(&self, name: &'n str) -> Option<(&Rule, Match<'n>)> {
        self.rules.iter().find_map(|rule| Some((rule, Match::of(&rule.from, name)?)))
    }
}

/// A name that fits a pattern: its indices, and what follows the pattern.
struct Match<'n> {
    indices: Vec<(&'static str, &'n str)>,
    rest: &'n str,
}

impl<'n> Match<'n> {
    fn of(pattern: &str, name: &'n str) -> Option<Self> {
        let mut indices = Vec::new();
        let mut rest = name;
        for expected in pattern.split('.') {
            let (segment, tail) = rest.split_once('.').unwrap_or((rest, ""));
            let placeholder = ["{i}", "{j}"].into_iter().find(|placeholder| *placeholder == expected);
            match placeholder {
                Some(placeholder) if !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) => {
                    indices.push((placeholder, segment));
                }
                None if segment == expected => {}
                _ => return None,
            }
            rest = tail;
        }
        Some(Self { indices, rest })
    }

    fn fill(&self, template: &str) -> String {
        let filled = self.indices.iter().fold(template.to_owned(), |name, (placeholder, index)| name.replace(placeholder, index));
        if self.rest.is_empty() { filled } else { format!("{filled}.{}", self.rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_segments_only() {
        let map = KeyMap::new().rename("block.{i}.a", "b.{i}");
        assert_eq!(map.targets("block.12.a.weight"), ["b.12.weight"]);
        assert_eq!(map.targets("block.12.a"), ["b.12"]);
        for other in ["block.12.ab.weight", "block.x.a.weight", "block.12", "xblock.12.a"] {
            assert_eq!(map.targets(other), [other]);
        }
    }

    #[test]
    fn a_map_can_be_read_backwards() {
        let map = KeyMap::new()
            .split("block.{i}.qkv", [("b.{i}.query", 2), ("b.{i}.key", 2)])
            .swap_halves("last", "end")
            .rename("block.{i}", "b.{i}");
        let parameters = ["b.3.query.weight", "b.3.key.weight", "b.3.mlp.weight", "end.bias", "other"];
        let sources = map.sources(parameters.into_iter());
        let names: Vec<&str> = sources.iter().map(|(name, ..)| name.as_str()).collect();
        // A rule that renames whole blocks takes the parts' own names too; the names of parameters are nobody's else.
        let expected = [
            "b.3.key.weight",
            "b.3.mlp.weight",
            "b.3.query.weight",
            "block.3.key.weight",
            "block.3.mlp.weight",
            "block.3.qkv.weight",
            "block.3.query.weight",
            "end.bias",
            "last.bias",
            "other",
        ];
        assert_eq!(names, expected);
        assert_eq!(sources[5].1, ["b.3.query.weight", "b.3.key.weight"]);
        assert_eq!((&sources[8].1[0][..], sources[8].2), ("end.bias", Arrangement::HalvesSwapped));
        let source = |parameter| map.source(parameter);
        assert_eq!(source("b.3.query.weight").as_deref(), Some("block.3.qkv.weight"));
        assert_eq!(source("b.3.mlp.weight").as_deref(), Some("block.3.mlp.weight"));
        assert_eq!((source("end.bias").as_deref(), source("other").as_deref()), (Some("last.bias"), Some("other")));
        // What is renamed to something else is nobody's name.
        assert_eq!((source("last.bias"), source("block.3.qkv.weight")), (None, None));
    }

    #[test]
    fn the_first_matching_rule_wins() {
        let map = KeyMap::new().rename("a.b", "special").rename("a", "general");
        assert_eq!(map.targets("a.b.weight"), ["special.weight"]);
        assert_eq!(map.targets("a.c.weight"), ["general.c.weight"]);
    }
}
