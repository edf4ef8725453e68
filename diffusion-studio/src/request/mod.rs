//! What is asked for, and what it means.

mod drawing;
mod job_request;
mod pictures;
mod refused;
mod resolve;

pub use drawing::{Drawing, InitInput, JobKind, LoraUse, Output, PictureFormat};
pub use job_request::{GuidanceRequest, JobRequest, LoraRequest, NoiseShiftRequest, SkipLayersRequest, StepCacheRequest};
pub(crate) use pictures::{Inputs, check_size, decode_picture};
pub(crate) use resolve::{Resolved, resolve};
