//! Settings outside their range.

/// A setting is outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {found}, expected {expected}")]
pub struct SettingError {
    /// Name of the setting.
    pub setting: &'static str,
    /// What it may be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl SettingError {
    /// A setting that is not what it may be.
    pub fn new(setting: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self { setting, expected: expected.to_string(), found: found.to_string() }
    }
}
