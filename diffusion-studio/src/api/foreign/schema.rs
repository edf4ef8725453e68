//! Bodies of requests described by tables: they are read field by field, and most of their fields are passed over.

use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    Number,
    Whole,
    Flag,
    Texts,
    Objects,
    Object,
    File,
}

/// A field: its name, what it holds, and what it means.
pub(crate) type FieldRow = (&'static str, Kind, &'static str);

/// The schema of an object with these fields, some of which are needed, and any others.
pub(crate) fn object(fields: &[&[FieldRow]], needed: &[&str]) -> RefOr<Schema> {
    let mut object = ObjectBuilder::new();
    for (name, kind, meaning) in fields.iter().copied().flatten() {
        object = object.property(*name, schema_of(*kind, meaning));
    }
    needed.iter().fold(object, |object, name| object.required(*name)).into()
}

fn schema_of(kind: Kind, meaning: &str) -> RefOr<Schema> {
    let plain = |kind: Type| ObjectBuilder::new().schema_type(SchemaType::Type(kind)).description(Some(meaning));
    let list = |of: Type| ArrayBuilder::new().items(Object::with_type(SchemaType::Type(of))).description(Some(meaning)).into();
    match kind {
        Kind::Text => plain(Type::String).into(),
        Kind::Number => plain(Type::Number).into(),
        Kind::Whole => plain(Type::Integer).into(),
        Kind::Flag => plain(Type::Boolean).into(),
        Kind::Object => plain(Type::Object).into(),
        Kind::File => plain(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).into(),
        Kind::Texts => list(Type::String),
        Kind::Objects => list(Type::Object),
    }
}

/// Make a type stand for the body of a request, described by tables.
macro_rules! body_schema {
    ($(#[$doc:meta])* $name:ident, [$($table:expr),+], $needed:expr) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::api::foreign::schema::object(&[$($table),+], $needed)
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use body_schema;
