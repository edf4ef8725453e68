//! Names that settings are chosen by.

/// A name that nothing of its sort has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {noun} \"{name}\"; there are {}", known.join(", "))]
pub struct UnknownName {
    /// What is named: "optimizer".
    pub noun: &'static str,
    /// The name.
    pub name: String,
    /// The names that there are.
    pub known: Vec<&'static str>,
}

/// The value of a name in a table.
pub(super) fn by_name<T: Copy>(noun: &'static str, table: &[(&'static str, T)], name: &str) -> Result<T, UnknownName> {
    let found = table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let known = || table.iter().map(|(known, _)| *known).collect();
    found.ok_or_else(|| UnknownName { noun, name: name.to_owned(), known: known() })
}
