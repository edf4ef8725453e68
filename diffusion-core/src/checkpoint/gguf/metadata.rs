//! The metadata of a GGUF file: what loading depends on is kept, everything else passed over.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};

use super::cursor::Cursor;
use super::problem::GgufProblem;

const DEFAULT_ALIGNMENT: usize = 32;
const ALIGNMENT: &str = "general.alignment";
const ARCHITECTURE: &str = "general.architecture";
const NUM_PARTS: &str = "split.count";
/// Followed by a tensor's name: its shape before it was regrouped to rows that blocks fit into. Outermost dimension first.
const ORIGINAL_SHAPE: &str = "comfy.gguf.orig_shape.";

/// Arrays in arrays that are followed; files have none.
const MOST_NESTED: u32 = 4;

pub(super) struct Metadata {
    /// What starts of tensors are multiples of.
    pub(super) alignment: usize,
    /// Entries that are text.
    pub(super) texts: HashMap<String, String>,
    pub(super) original_shapes: BTreeMap<String, Vec<u64>>,
}

/// A value, as far as loading needs it.
enum Value {
    Integer(i128),
    Text(String),
    Integers(Vec<i128>),
    Other,
}

#[derive(Clone, Copy)]
enum Type {
    Integer {
        bytes: u64,
        signed: bool,
    },
    /// A float or a truth value: of this many bytes.
    Opaque(u64),
    Text,
    Array,
}

impl Type {
    fn read(cursor: &mut Cursor, key: &str) -> Result<Self, GgufProblem> {
        let integer = |bytes, signed| Ok(Self::Integer { bytes, signed });
        match cursor.u32(&format_args!("the type of metadata {key}"))? {
            0 => integer(1, false),
            1 => integer(1, true),
            2 => integer(2, false),
            3 => integer(2, true),
            4 => integer(4, false),
            5 => integer(4, true),
            6 => Ok(Self::Opaque(4)),
            7 => Ok(Self::Opaque(1)),
            8 => Ok(Self::Text),
            9 => Ok(Self::Array),
            10 => integer(8, false),
            11 => integer(8, true),
            12 => Ok(Self::Opaque(8)),
            found => Err(GgufProblem::MetadataType { key: key.to_owned(), found }),
        }
    }

    /// Bytes that a value takes at the least.
    fn smallest(self) -> u64 {
        match self {
            Self::Integer { bytes, .. } | Self::Opaque(bytes) => bytes,
            Self::Text => 8,
            Self::Array => 12,
        }
    }
}

fn integer(bytes: &[u8], signed: bool) -> i128 {
    let value = bytes.iter().rev().fold(0i128, |value, &byte| value << 8 | i128::from(byte));
    let negative = signed && bytes.last().is_some_and(|&byte| byte >= 128);
    if negative { value - (1 << (8 * bytes.len())) } else { value }
}

/// A metadata entry in errors.
struct Of<'a>(&'a str);

impl Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metadata {}", self.0)
    }
}

impl Value {
    fn read(cursor: &mut Cursor, key: &str, kind: Type, nested: u32) -> Result<Self, GgufProblem> {
        let what = Of(key);
        match kind {
            Type::Integer { bytes, signed } => Ok(Self::Integer(integer(cursor.take(bytes, &what)?, signed))),
            Type::Opaque(bytes) => cursor.take(bytes, &what).map(|_| Self::Other),
            // Values need not be text that we understand: a tokenizer's pieces may be any bytes.
            Type::Text => Ok(Self::Text(String::from_utf8_lossy(cursor.bytes(&what)?).into_owned())),
            Type::Array if nested == MOST_NESTED => Err(GgufProblem::MetadataValue {
                key: key.to_owned(),
                expected: "an array of plain values",
                found: "arrays in arrays".to_owned(),
            }),
            Type::Array => Self::read_array(cursor, key, nested),
        }
    }

    fn read_array(cursor: &mut Cursor, key: &str, nested: u32) -> Result<Self, GgufProblem> {
        let kind = Type::read(cursor, key)?;
        let len = cursor.count(&format_args!("entries in metadata {key}"), kind.smallest())?;
        let what = Of(key);
        match kind {
            Type::Integer { bytes, signed } => {
                let entries = cursor.take(len.saturating_mul(bytes), &what)?;
                let wanted = key.starts_with(ORIGINAL_SHAPE) && len <= 8;
                let entries = entries.chunks_exact(bytes as usize).map(|entry| integer(entry, signed));
                Ok(if wanted { Self::Integers(entries.collect()) } else { Self::Other })
            }
            Type::Opaque(bytes) => cursor.take(len.saturating_mul(bytes), &what).map(|_| Self::Other),
            Type::Text => (0..len).try_for_each(|_| cursor.bytes(&what).map(|_| ())).map(|()| Self::Other),
            Type::Array => (0..len).try_for_each(|_| Self::read(cursor, key, kind, nested + 1).map(|_| ())).map(|()| Self::Other),
        }
    }

    fn unexpected(self, key: &str, expected: &'static str) -> GgufProblem {
        let found = match self {
            Self::Integer(value) => value.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::Integers(values) => format!("{values:?}"),
            Self::Other => "of another type".to_owned(),
        };
        GgufProblem::MetadataValue { key: key.to_owned(), expected, found }
    }
}

impl Metadata {
    pub(super) fn read(cursor: &mut Cursor, len: u64) -> Result<Self, GgufProblem> {
        let mut metadata = Self { alignment: DEFAULT_ALIGNMENT, texts: HashMap::new(), original_shapes: BTreeMap::new() };
        for _ in 0..len {
            let key = cursor.text(&"the name of a metadata entry")?.to_owned();
            let kind = Type::read(cursor, &key)?;
            let value = Value::read(cursor, &key, kind, 0)?;
            metadata.keep(key, value)?;
        }
        Ok(metadata)
    }

    fn keep(&mut self, key: String, value: Value) -> Result<(), GgufProblem> {
        match (key.as_str(), value) {
            (ALIGNMENT, value) => {
                let alignment = match value {
                    Value::Integer(alignment) => usize::try_from(alignment).ok(),
                    _ => None,
                };
                // No program aligns to more than a page; a larger power of two is damage.
                let usable = alignment.filter(|alignment| alignment.is_power_of_two() && *alignment <= 1 << 20);
                self.alignment = usable.ok_or_else(|| value.unexpected(&key, "a power of two"))?;
            }
            (_, Value::Text(text)) if !key.starts_with(ORIGINAL_SHAPE) => {
                self.texts.insert(key, text);
            }
            (ARCHITECTURE, other) => return Err(other.unexpected(&key, "text")),
            (NUM_PARTS, Value::Integer(parts)) if parts > 1 => {
                return Err(GgufProblem::Split { parts: u64::try_from(parts).unwrap_or(u64::MAX) });
            }
            (key, value) => {
                let Some(tensor) = key.strip_prefix(ORIGINAL_SHAPE) else { return Ok(()) };
                let shape = match &value {
                    Value::Integers(shape) => shape.iter().map(|&size| u64::try_from(size).ok()).collect(),
                    _ => None,
                };
                let shape = shape.ok_or_else(|| value.unexpected(key, "an array of sizes"))?;
                self.original_shapes.insert(tensor.to_owned(), shape);
            }
        }
        Ok(())
    }
}
