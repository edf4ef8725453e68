//! Progress on the terminal, with time left.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
    pub fn note(self, line: impl std::fmt::Display) {
        if self == Self::Normal {
            eprintln!("{line}");
        }
    }

    /// Do a stage of unknown length under a spinner, and say how long it took.
    ///
    /// # Errors
    /// What `work` gives.
    pub fn stage<T, E>(self, doing: &str, done: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let start = Instant::now();
        let spinner = self.bar(ProgressBar::new_spinner()).with_message(doing.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        let result = work();
        spinner.finish_and_clear();
        if result.is_ok() {
            self.note(format_args!("{done} in {:.1} s", start.elapsed().as_secs_f64()));
        }
        result
    }

    /// A bar for a number of steps.
    pub fn steps(self, doing: &str, num_steps: usize) -> ProgressBar {
        let template = "{msg} [{bar:30}] {pos}/{len}, {elapsed} gone, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.bar(ProgressBar::new(num_steps as u64)).with_style(style.progress_chars("=> "));
        let bar = bar.with_message(doing.to_owned());
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }

    fn bar(self, bar: ProgressBar) -> ProgressBar {
        if self == Self::Quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar
    }
}
