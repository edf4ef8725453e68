//! Tensors that files carry and drawing has no use for.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::PathBuf;

use crate::component_file::ComponentFile;
use crate::source::Source;

/// Tensors of a file that are known and without use for drawing, such as the vision tower of a CLIP. What is unknown refuses
/// the file instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The file.
    pub path: PathBuf,
    /// Names of the tensors in it.
    pub tensors: Vec<String>,
}

impl LeftOut {
    /// What is left out of the files of a model.
    pub(crate) fn of(source: &Source, components: &[&dyn ComponentFile]) -> Vec<Self> {
        let own = Self { path: source.path().to_owned(), tensors: source.left_out() };
        let of_component =
            |file: &&dyn ComponentFile| Self { path: file.checkpoint().path().to_owned(), tensors: file.left_out() };
        let all = components.iter().map(of_component).chain([own]);
        all.filter(|left_out| !left_out.tensors.is_empty()).collect()
    }
}

impl Display for LeftOut {
    /// Many tensors under one name are told as one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 8;
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in &self.tensors {
            groups.entry(name.split('.').next().unwrap_or(name)).or_default().push(name);
        }
        let shown = groups.iter().take(MOST).map(|(group, names)| match names[..] {
            [name] => name.escape_debug().to_string(),
            _ => format!("{} ({} tensors)", group.escape_debug(), names.len()),
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        let more = groups.len().saturating_sub(MOST);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        write!(f, "{}: left out, for drawing has no use for it: {shown}{more}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_tensors_of_one_kind_are_told_as_one() {
        let tensors = ["logit_scale", "vision_model.a", "vision_model.b\u{1b}[31m", "vision_model.c"].map(str::to_owned);
        let left_out = LeftOut { path: "clip.safetensors".into(), tensors: tensors.into() };
        let expected = "clip.safetensors: left out, for drawing has no use for it: logit_scale, vision_model (3 tensors)";
        assert_eq!(left_out.to_string(), expected);
        let left_out = LeftOut { tensors: (0..10).map(|i| format!("{i}\u{1b}")).collect(), ..left_out };
        let said = left_out.to_string();
        assert!(said.ends_with("7\\u{1b} and 2 more") && !said.contains('\u{1b}'), "{said}");
    }
}
