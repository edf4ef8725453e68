//! Progress on the terminal, with time left.

use std::fmt::Display;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use diffusion_core::weights::ComponentId;
use diffusion_models::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::stdout::say;
use crate::devices::Devices;

/// A bar for bytes.
const BYTES: &str = "{msg} [{bar:30}] {bytes}/{total_bytes}, {elapsed} gone, {eta} left";
/// A bar for things that are counted.
const COUNT: &str = "{msg} [{bar:30}] {pos}/{len}, {elapsed} gone, {eta} left";
/// A spinner for one thing.
const SPINNER: &str = "{spinner} {msg}";

/// How much a program tells of its work. All of it goes to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Bars on a terminal, and a line for every finished stage.
    Normal,
    /// Errors and warnings only.
    Quiet,
}

impl Verbosity {
    /// A line for the user.
    pub fn note(self, line: impl Display) {
        if self == Self::Normal {
            say(line);
        }
    }

    /// Begin a stage of a pipeline that does `total` things, such as steps.
    pub fn stage(self, doing: &'static str, total: usize) -> Stage {
        let bar = ProgressBar::new_spinner();
        if self == Self::Quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        let stage = Stage { verbosity: self, doing, total, began: Instant::now(), loading: None, devices: None, bar };
        stage.count_from_start();
        stage
    }
}

/// A stage of a pipeline on the terminal: a bar, and a line at its end. The bar goes away when this is dropped.
///
/// ```
/// use std::ops::ControlFlow;
/// use diffusion_app::cli::Verbosity;
/// use diffusion_models::Event;
///
/// let mut stage = Verbosity::Normal.stage("encoding the prompts", 2);
/// let mut observer = |event: Event| stage.show(&event); // for Pipeline::encode_prompts
/// assert!(observer(Event::Encoded { done: 1, total: 2, truncated: vec![] }).is_continue());
/// stage.finish("encoded the prompts");
/// ```
#[derive(Debug)]
pub struct Stage {
    verbosity: Verbosity,
    doing: &'static str,
    total: usize,
    began: Instant,
    loading: Option<ComponentId>,
    /// Where components go, if there are several places.
    devices: Option<Devices>,
    bar: ProgressBar,
}

impl Stage {
    /// Say where components go, if there are several places.
    #[must_use]
    pub fn naming(mut self, devices: &Devices) -> Self {
        self.devices = devices.are_several().then(|| devices.clone());
        self
    }

    /// Show what a pipeline tells. Never cancels.
    pub fn show(&mut self, event: &Event) -> ControlFlow<()> {
        match event {
            Event::Loading { component, done, total, .. } => self.load(*component, *done, *total),
            Event::Step(step) => self.count(step.index + 1, step.num_steps),
            Event::Encoded { done, total, .. } | Event::Decoded { done, total } => self.count(*done, *total),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Write to the terminal without the bar in between.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// End the stage, and say how long it took.
    pub fn finish(self, done: impl Display) {
        self.bar.finish_and_clear();
        self.verbosity.note(format_args!("{done} in {:.1} s", self.began.elapsed().as_secs_f64()));
    }

    /// Show how many of the bytes of a component are loaded; when all are, the stage itself goes on.
    fn load(&mut self, component: ComponentId, done: usize, total: usize) {
        if done == total {
            self.loading = None;
            return self.count_from_start();
        }
        if self.loading != Some(component) {
            self.loading = Some(component);
            let device = self.devices.as_ref().map(|devices| devices.of(component).name);
            let onto = device.map(|device| format!(" onto {device}")).unwrap_or_default();
            self.begin(format!("loading {component}{onto}"), BYTES, total);
        }
        self.bar.set_position(done as u64);
    }

    fn count(&mut self, done: usize, total: usize) {
        if self.loading.take().is_some() {
            self.count_from_start();
        }
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }

    fn count_from_start(&self) {
        self.begin(self.doing.to_owned(), if self.total > 1 { COUNT } else { SPINNER }, self.total);
    }

    fn begin(&self, doing: String, style: &str, total: usize) {
        let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.reset();
        self.bar.set_length(total as u64);
        self.bar.set_message(doing);
        self.bar.set_style(style.progress_chars("=> "));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use diffusion_models::components::{CLIP_L, T5XXL};

    use super::*;

    fn loading(component: ComponentId, done: usize) -> Event {
        Event::Loading { component, device: burn::tensor::Device::default(), done, total: 100 }
    }

    fn shown(stage: &Stage) -> (String, u64, Option<u64>) {
        (stage.bar.message(), stage.bar.position(), stage.bar.length())
    }

    #[test]
    fn a_stage_shows_the_bytes_of_every_component_and_then_what_it_does() {
        let mut stage = Verbosity::Quiet.stage("encoding", 3);
        assert_eq!(shown(&stage), ("encoding".to_owned(), 0, Some(3)));
        for component in [CLIP_L, T5XXL] {
            for done in [0, 40, 80] {
                assert!(stage.show(&loading(component, done)).is_continue());
                assert_eq!(shown(&stage), (format!("loading {component}"), done as u64, Some(100)));
            }
        }
        let _ = stage.show(&loading(T5XXL, 100));
        assert_eq!(shown(&stage), ("encoding".to_owned(), 0, Some(3)));
        let _ = stage.show(&Event::Encoded { done: 2, total: 3, truncated: vec![] });
        assert_eq!(shown(&stage), ("encoding".to_owned(), 2, Some(3)));
    }

    #[cfg(all(feature = "embedded-model", feature = "flex"))]
    #[test]
    fn where_components_go_is_said_where_there_are_several_places() {
        use crate::device::DeviceName;
        use crate::devices::tests::devices;

        let shown_of = |placed: DeviceName, component| {
            let mut stage = Verbosity::Quiet.stage("encoding", 3).naming(&devices(DeviceName::Cuda(0), &[(T5XXL, placed)]));
            let _ = stage.show(&loading(component, 40));
            shown(&stage).0
        };
        assert_eq!(shown_of(DeviceName::Cpu, T5XXL), "loading T5 onto cpu");
        assert_eq!(shown_of(DeviceName::Cpu, CLIP_L), "loading CLIP-L onto cuda:0");
        assert_eq!(shown_of(DeviceName::Cuda(0), T5XXL), "loading T5");
    }

    #[test]
    fn whatever_comes_after_loading_ends_it() {
        let mut stage = Verbosity::Quiet.stage("encoding", 3);
        let _ = stage.show(&loading(T5XXL, 90));
        let _ = stage.show(&Event::Encoded { done: 1, total: 3, truncated: vec![] });
        assert_eq!(shown(&stage), ("encoding".to_owned(), 1, Some(3)));
    }

    #[test]
    fn every_template_is_one_that_the_bar_knows() {
        for template in [BYTES, COUNT, SPINNER] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
