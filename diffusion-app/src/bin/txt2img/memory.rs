//! What fits into the memory of each device.

use diffusion_app::cli::{Verbosity, say};
use diffusion_app::devices::{Devices, NamedDevice};
use diffusion_app::memory::available_memory;
use diffusion_core::Residency;
use diffusion_core::weights::ComponentId;
use diffusion_models::{Pipeline, Plan};

use crate::arguments::Arguments;

/// Whether weights stay in memory, on each device: as asked, and otherwise if they fit. Says if even streamed ones do not.
pub(crate) fn set_residency(
    arguments: &Arguments,
    devices: &Devices,
    plan: &Plan,
    pipeline: &mut Pipeline,
    verbosity: Verbosity,
) {
    devices.set_residency(plan, pipeline, |NamedDevice { name, .. }, plan| {
        let Some(available) = available_memory(*name) else {
            return if arguments.stream_weights { Residency::Streamed } else { Residency::Resident };
        };
        let chosen = if arguments.stream_weights { Residency::Streamed } else { plan.residency(available) };
        let of = if devices.are_several() { format!("{name}: ") } else { String::new() };
        if let Some(shortage) = plan.shortage(available) {
            say(format_args!("warning: {of}{shortage}"));
        } else if chosen == Residency::Streamed && !arguments.stream_weights {
            let [needed, free] = [plan.peak_resident, available].map(|bytes| bytes as f64 / 1e9);
            verbosity.note(format_args!(
                "{of}streaming weights from their files: they take {needed:.1} GB, {free:.1} GB of memory are free"
            ));
        }
        chosen
    });
}

/// The plan of each device.
pub(crate) fn shown(devices: &Devices, plan: &Plan, pipeline: &Pipeline) -> String {
    if !devices.are_several() {
        return plan.to_string();
    }
    let of_devices = devices.of_model(pipeline).into_iter();
    of_devices.map(|(device, _)| format!("on {}:\n{}", device.name, plan.on(&device.device))).collect::<Vec<_>>().join("\n\n")
}

/// Components in a sentence.
pub(crate) fn listed(components: &[ComponentId]) -> String {
    components.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
