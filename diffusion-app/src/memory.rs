//! Memory that is free.

use crate::device::DeviceName;

/// Bytes of memory that are free on a device; `None` where nobody tells.
pub fn available_memory(device: DeviceName) -> Option<usize> {
    if device != DeviceName::Cpu {
        return None;
    }
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let available = system.cgroup_limits().map_or_else(|| system.available_memory(), |limits| limits.free_memory);
    usize::try_from(available).ok().filter(|&bytes| bytes > 0)
}
