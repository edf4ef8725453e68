//! Shifts of noise levels on the command line.

use std::str::FromStr;

/// A shift of noise levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ShiftName {
    None,
    Dynamic,
    Constant(f64),
}

impl FromStr for ShiftName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "none" => Ok(Self::None),
            "dynamic" => Ok(Self::Dynamic),
            number => match number.parse() {
                Ok(shift) if (0.01..=100.0).contains(&shift) => Ok(Self::Constant(shift)),
                _ => Err("expected a number from 0.01 to 100, none or dynamic"),
            },
        }
    }
}
