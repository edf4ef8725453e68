//! Enums whose variants have names.

/// A name that no kind has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {noun} \"{name}\"; there are {}", known.join(", "))]
pub struct UnknownName {
    /// The sort of kind: "sampler" or "schedule".
    pub noun: &'static str,
    /// The name.
    pub name: String,
    /// The names that there are.
    pub known: &'static [&'static str],
}

/// Define an enum of named kinds: the list of all, `FromStr`, `Display`, and with the feature `serde` both directions, all by
/// name.
macro_rules! named_kinds {
    ($(#[$doc:meta])* $kind:ident, $noun:literal { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $kind {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name, which [`FromStr`](std::str::FromStr) parses.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $kind {
            type Err = $crate::kind::named_kinds::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| $crate::kind::named_kinds::UnknownName {
                    noun: $noun,
                    name: name.to_owned(),
                    known: &[$($name,)*],
                })
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use named_kinds;
