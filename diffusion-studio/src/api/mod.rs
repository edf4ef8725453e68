//! The protocols that programs speak with the server.

pub(crate) mod body;
pub(crate) mod native;
