//! A JSON object whose entries keep their order.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A JSON object whose entries keep their order; of a name that occurs twice, the last value counts, in the first place. That is
/// how Python reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OrderedMap<V>(pub(crate) Vec<(String, V)>);

impl<V> OrderedMap<V> {
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.0.iter().find(|(entry, _)| entry == name).map(|(_, value)| value)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for OrderedMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = OrderedMap<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let (mut entries, mut places) = (Vec::new(), HashMap::new());
                while let Some((name, value)) = map.next_entry::<String, V>()? {
                    let place = *places.entry(name.clone()).or_insert(entries.len());
                    match entries.get_mut(place) {
                        Some((_, before)) => *before = value,
                        None => entries.push((name, value)),
                    }
                }
                Ok(OrderedMap(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_python_reads_them() {
        let read: OrderedMap<u8> = serde_json::from_str(r#"{"b": 1, "a": 2, "b": 3}"#).unwrap();
        assert_eq!(read.0, [("b".to_owned(), 3), ("a".to_owned(), 2)]);
        assert_eq!((read.get("a"), read.get("c")), (Some(&2), None));
    }
}
