//! Settings that training cannot work with.

/// A setting that training cannot work with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{setting} is {found}, expected {expected}")]
pub struct SettingError {
    /// The setting.
    pub setting: &'static str,
    /// What it may be.
    pub expected: &'static str,
    /// What it is.
    pub found: f64,
}

impl SettingError {
    /// An error, unless the condition holds.
    pub(super) fn unless(holds: bool, setting: &'static str, expected: &'static str, found: f64) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self { setting, expected, found }) }
    }

    /// An error, unless the number is finite.
    pub(super) fn unless_finite(setting: &'static str, found: f64) -> Result<(), Self> {
        Self::unless(found.is_finite(), setting, "a finite number", found)
    }

    /// An error, unless the number is in [0, 1).
    pub(super) fn unless_part(setting: &'static str, found: f64) -> Result<(), Self> {
        Self::unless((0.0..1.0).contains(&found), setting, "a number from 0 to below 1", found)
    }

    /// An error, unless the number is finite and above 0.
    pub(super) fn unless_positive(setting: &'static str, found: f64) -> Result<(), Self> {
        Self::unless(found > 0.0 && found.is_finite(), setting, "a number above 0", found)
    }
}
