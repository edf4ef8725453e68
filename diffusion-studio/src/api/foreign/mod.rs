//! What the protocols of other programs share.

pub(super) mod body;
pub(super) mod fields;
pub(super) mod masks;
pub(super) mod schema;
pub(super) mod waited;
