//! Memory that the checks took.

use burn::tensor::Device;
use diffusion_app::cli::PrintError;
use sysinfo::{ProcessesToUpdate, System};

use crate::table::{Case, Table};

/// Memory of the process, and of the device as far as its backend tells.
pub(crate) fn report(device: &Device, table: &mut Table) -> Result<(), PrintError> {
    if let Some(bytes) = of_this_process() {
        table.measure(Case::new("memory", "of the process", ""), "MB", || Ok((megabytes(bytes), String::new())))?;
    }
    if let Some(pool) = device.memory_pool_usage() {
        let note = format!("{:.0} MB of it in use", megabytes(pool.bytes_in_use));
        table.measure(Case::new("memory", "of the device, reserved", ""), "MB", || Ok((megabytes(pool.bytes_reserved), note)))?;
    }
    Ok(())
}

fn of_this_process() -> Option<u64> {
    let id = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::Some(&[id]), true);
    system.process(id).map(sysinfo::Process::memory)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
