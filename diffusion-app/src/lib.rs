//! What applications share: devices by name, input images, output files, progress.

pub mod cli;
pub mod device;
pub mod image_file;
pub mod output;
#[cfg(feature = "vulkan")]
mod vulkan;
