//! What is asked for, and what it means.

mod drawing;
mod job_kind;
mod job_request;
mod picture_format;
mod pictures;
mod refused;
mod resolve;

pub(crate) use drawing::needs;
pub use drawing::{Drawing, InitInput, LoraUse, Output};
pub use job_kind::JobKind;
pub use job_request::{GuidanceRequest, JobRequest, LoraRequest, NoiseShiftRequest, SkipLayersRequest, StepCacheRequest};
pub use picture_format::PictureFormat;
pub(crate) use pictures::{Inputs, check_size, decode_picture};
pub(crate) use resolve::{Resolved, resolve};
