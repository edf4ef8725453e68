//! What Burn's shaders need of a Vulkan driver, asked before it is given one.

use wgpu::hal::api::Vulkan;
use wgpu::{Backends, Instance, InstanceDescriptor};

/// cubecl 0.11.3 lays out workgroup memory explicitly. Without this extension it writes shaders whose pointers have the
/// wrong type, and a driver that trusts them crashes the program: Mesa's lavapipe does, up to version 25.0 at least.
const WORKGROUP_MEMORY_EXPLICIT_LAYOUT: &std::ffi::CStr = c"VK_KHR_workgroup_memory_explicit_layout";

/// A driver that crashes on Burn's shaders.
pub(crate) struct UnusableDriver {
    /// Its name and version.
    pub(crate) driver: String,
    /// The extension that it lacks.
    pub(crate) extension: String,
}

/// Refuses a device whose driver cannot compile Burn's shaders.
///
/// # Errors
/// [`UnusableDriver`].
pub(crate) fn check_driver(device_name: &str) -> Result<(), UnusableDriver> {
    let instance = Instance::new(InstanceDescriptor::new_without_display_handle());
    let adapters = futures_lite::future::block_on(instance.enumerate_adapters(Backends::VULKAN));
    let Some(adapter) = adapters.iter().find(|adapter| adapter.get_info().name == device_name) else {
        return Ok(()); // Found by the same enumeration a moment ago; if it went away, opening it says so.
    };
    // SAFETY: the adapter is only asked what it supports; nothing of it is destroyed or kept.
    let supported = unsafe { adapter.as_hal::<Vulkan>() }
        .is_none_or(|adapter| adapter.physical_device_capabilities().supports_extension(WORKGROUP_MEMORY_EXPLICIT_LAYOUT));
    if supported {
        return Ok(());
    }
    let info = adapter.get_info();
    Err(UnusableDriver {
        driver: format!("{} {}", info.driver, info.driver_info),
        extension: WORKGROUP_MEMORY_EXPLICIT_LAYOUT.to_string_lossy().into_owned(),
    })
}
