//! Methods and ranks on the command line.

use std::fmt::{self, Display};
use std::str::FromStr;

use diffusion_lora::train::Method;
use fancy_regex::Regex;

/// A method by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MethodName(pub(crate) Method);

/// As LyCORIS chooses it.
const LOKR_FACTOR: usize = 16;

impl Default for MethodName {
    fn default() -> Self {
        Self(Method::Lora)
    }
}

impl FromStr for MethodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, factor) = text.split_once(':').map_or((text, None), |(name, factor)| (name, Some(factor)));
        match (name, factor) {
            ("lora", None) => Ok(Self(Method::Lora)),
            ("dora", None) => Ok(Self(Method::Dora)),
            ("lokr", None) => Ok(Self(Method::Lokr { factor: LOKR_FACTOR })),
            ("lokr", Some(factor)) => match factor.parse() {
                Ok(factor @ 1..=256) => Ok(Self(Method::Lokr { factor })),
                _ => Err(format!("the factor of lokr is a whole number from 1 to 256, not {factor}")),
            },
            _ => Err("expected lora, dora or lokr[:FACTOR]".to_owned()),
        }
    }
}

impl Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Method::Lora => f.write_str("lora"),
            Method::Dora => f.write_str("dora"),
            Method::Lokr { factor } => write!(f, "lokr:{factor}"),
        }
    }
}

/// A rank for layers in whose name something is found.
#[derive(Clone, Debug)]
pub(crate) struct RankPattern {
    pattern: Regex,
    pub(crate) rank: usize,
}

impl RankPattern {
    /// Whether a layer of this name gets the rank.
    pub(crate) fn suits(&self, module: &str) -> bool {
        self.pattern.is_match(module).unwrap_or(false)
    }

    /// The regular expression.
    pub(crate) fn pattern(&self) -> &str {
        self.pattern.as_str()
    }
}

impl FromStr for RankPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a regular expression and a rank from 1 to 1024, as in ff=8";
        let (pattern, rank) = text.rsplit_once('=').ok_or(expected)?;
        let rank = rank.parse().ok().filter(|rank| (1..=1_024).contains(rank)).ok_or(expected)?;
        Ok(Self { pattern: Regex::new(pattern).map_err(|error| error.to_string())?, rank })
    }
}

impl Display for RankPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern.as_str(), self.rank)
    }
}
