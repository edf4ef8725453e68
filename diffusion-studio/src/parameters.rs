//! temporary
use crate::registry::Registry;
use crate::request::JobRequest;
pub(crate) fn read(_bytes: &[u8]) -> Option<String> {
    None
}
pub(crate) fn as_request(_text: &str, _registry: &Registry) -> JobRequest {
    JobRequest::default()
}
