//! Requests of other programs' clients, read as leniently as those programs read them: what is unknown is passed over, null is
//! absent, and a number may come as a text.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::refusal::{Refusal, RefusalKind};

/// The fields of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of an object of JSON.
    ///
    /// # Errors
    /// [`RefusalKind::Malformed`] if it is none.
    pub(crate) fn of_json(body: &[u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Refusal::new(RefusalKind::Malformed, "the body is JSON, but no object")),
            Err(error) => Err(Refusal::new(RefusalKind::Malformed, format!("the body is no JSON: {error}"))),
        }
    }

    /// Set a field.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// All of them.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// A field, unless it is null.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::invalid(name, "expected a text")),
        }
    }

    /// A text that says something.
    pub(crate) fn word(&self, name: &str) -> Result<Option<&str>, Refusal> {
        Ok(self.text(name)?.map(str::trim).filter(|text| !text.is_empty()))
    }

    /// A finite number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, Refusal> {
        let number = match self.scalar(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        number.filter(|number| number.is_finite()).map(Some).ok_or_else(|| Refusal::invalid(name, "expected a number"))
    }

    /// A whole number from 0 on.
    pub(crate) fn whole(&self, name: &str) -> Result<Option<usize>, Refusal> {
        match self.integer(name)? {
            None => Ok(None),
            Some(number) => usize::try_from(number).map(Some).map_err(|_| not_whole(name)),
        }
    }

    /// A whole number from 0 on. What is below is absent, as clients say so.
    pub(crate) fn seed(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.integer(name)? {
            None => Ok(None),
            Some(number) if number < 0 => Ok(None),
            Some(number) => u64::try_from(number).map(Some).map_err(|_| not_whole(name)),
        }
    }

    fn integer(&self, name: &str) -> Result<Option<i128>, Refusal> {
        let number = match self.scalar(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => Some(i128::from(number)),
                (_, Some(number)) => Some(i128::from(number)),
                _ => number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e18).map(|number| number as i128),
            },
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| not_whole(name))
    }

    /// Yes or no; absent is no.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.scalar(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::Number(number)) if matches!(number.as_u64(), Some(0 | 1)) => Ok(number.as_u64() == Some(1)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") || text == "1" => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") || text == "0" => Ok(false),
            Some(_) => Err(Refusal::invalid(name, "expected true or false")),
        }
    }

    /// A list; absent is empty.
    pub(crate) fn list(&self, name: &str) -> Result<Cow<'_, [Value]>, Refusal> {
        let expected = || Refusal::invalid(name, "expected a list");
        match self.scalar(name) {
            None => Ok(Cow::Borrowed(&[])),
            Some(Value::Array(list)) => Ok(Cow::Borrowed(list)),
            // In forms, all is text.
            Some(Value::String(text)) => serde_json::from_str(text).map(Cow::Owned).map_err(|_| expected()),
            Some(_) => Err(expected()),
        }
    }

    /// An object; absent is empty.
    pub(crate) fn object(&self, name: &str) -> Result<Self, Refusal> {
        let expected = || Refusal::invalid(name, "expected an object");
        match self.scalar(name) {
            None => Ok(Self::default()),
            Some(Value::Object(fields)) => Ok(Self(fields.clone())),
            Some(Value::String(text)) => serde_json::from_str(text).map(Self).map_err(|_| expected()),
            Some(_) => Err(expected()),
        }
    }

    /// Names of fields that are there.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A field that is there, if it says something.
    fn scalar(&self, name: &str) -> Option<&Value> {
        self.value(name).filter(|value| value.as_str().is_none_or(|text| !text.trim().is_empty()))
    }
}

impl From<Map<String, Value>> for Fields {
    fn from(fields: Map<String, Value>) -> Self {
        Self(fields)
    }
}

fn not_whole(name: &str) -> Refusal {
    Refusal::invalid(name, "expected a whole number from 0 on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::of_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn null_and_empty_texts_are_absent() {
        let fields = fields(r#"{"a":null,"b":"","c":"  "}"#);
        for name in ["a", "b", "c", "d"] {
            assert_eq!(fields.number(name), Ok(None));
            assert_eq!(fields.whole(name), Ok(None));
            assert_eq!(fields.flag(name), Ok(false));
            assert_eq!(fields.word(name), Ok(None));
            assert_eq!(fields.list(name), Ok(Cow::Borrowed(&[][..])));
            assert_eq!(fields.object(name), Ok(Fields::default()));
        }
        assert_eq!((fields.text("a"), fields.text("b")), (Ok(None), Ok(Some(""))));
    }

    #[test]
    fn numbers_come_as_texts_too() {
        let fields =
            fields(r#"{"a":"5","b":5.0,"c":18446744073709551615,"d":-1,"e":"true","f":1,"g":"[{\"name\":\"x\"}]","h":"4.5"}"#);
        assert_eq!((fields.whole("a"), fields.whole("b"), fields.number("h")), (Ok(Some(5)), Ok(Some(5)), Ok(Some(4.5))));
        assert_eq!((fields.seed("c"), fields.seed("d")), (Ok(Some(u64::MAX)), Ok(None)));
        assert_eq!((fields.flag("e"), fields.flag("f")), (Ok(true), Ok(true)));
        assert_eq!(fields.list("g").unwrap().len(), 1);
    }

    #[test]
    fn wrong_types_name_their_field() {
        let fields = fields(r#"{"n":{},"t":3,"w":-2,"f":"perhaps","l":"no list","o":[],"x":"1e400","s":1.5}"#);
        let named = |refusal: Option<Refusal>| refusal.map(|refusal| (refusal.kind, refusal.field.unwrap()));
        let invalid = |name: &str| Some((RefusalKind::Invalid, name.to_owned()));
        assert_eq!(named(fields.number("n").err()), invalid("n"));
        assert_eq!(named(fields.text("t").err()), invalid("t"));
        assert_eq!(named(fields.whole("w").err()), invalid("w"));
        assert_eq!(named(fields.flag("f").err()), invalid("f"));
        assert_eq!(named(fields.list("l").err()), invalid("l"));
        assert_eq!(named(fields.object("o").err()), invalid("o"));
        assert_eq!(named(fields.seed("s").err()), invalid("s"));
        for body in ["", "{", "[]", "3", "{\"a\":nan}"] {
            assert_eq!(Fields::of_json(body.as_bytes()).unwrap_err().kind, RefusalKind::Malformed);
        }
    }
}
