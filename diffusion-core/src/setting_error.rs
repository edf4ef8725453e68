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
        /// Enough for every number that anybody means.
        const MOST_CHARACTERS: usize = 60;
        let mut found = found.to_string();
        if let Some((end, _)) = found.char_indices().nth(MOST_CHARACTERS) {
            found.truncate(end);
            found.push_str("...");
        }
        Self { setting, expected: expected.to_string(), found }
    }
}
