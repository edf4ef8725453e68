//! What fits into the memory of each device.

use diffusion_app::cli::{Verbosity, say};
use diffusion_app::devices::{Devices, NamedDevice};
use diffusion_app::memory::available_memory;
use diffusion_core::Residency;
use diffusion_core::weights::ComponentId;
use diffusion_models::components::{TRANSFORMER, VAE};
use diffusion_models::{Guidance, Pipeline, Plan, Settings};

use crate::arguments::Arguments;

/// The settings, with guidance evaluated as memory allows.
pub(crate) fn with_guidance_that_fits(
    arguments: &Arguments,
    devices: &Devices,
    settings: Settings,
    batch: usize,
    pipeline: &Pipeline,
    verbosity: Verbosity,
) -> Settings {
    let Some(available) = available_memory(devices.of(TRANSFORMER).name) else { return settings };
    let residency = arguments.stream_weights.then_some(Residency::Streamed);
    let evaluation = pipeline.guidance_that_fits(&settings, batch, available, residency);
    if evaluation != settings.guidance.evaluation {
        verbosity.note(format_args!("both passes of guidance at once do not fit into memory: they are run one after the other"));
    }
    Settings { guidance: Guidance { evaluation, ..settings.guidance }, ..settings }
}

/// Decode as many tiles at once as memory allows.
pub(crate) fn set_tiles_at_once(devices: &Devices, settings: &Settings, pipeline: &mut Pipeline) {
    if let Some(available) = available_memory(devices.of(VAE).name) {
        pipeline.set_tiles_at_once(pipeline.tiles_that_fit(settings, available));
    }
}

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
