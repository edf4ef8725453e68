//! What a run tells while it goes on.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use diffusion_app::cli::{Verbosity, say};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::log::LoggedStep;

/// Decay of the running mean of the loss.
const DECAY: f64 = 0.98;
/// Where there is no terminal, lines are at least this far apart.
const INTERVAL: Duration = Duration::from_secs(10);

/// A bar with the loss, or a line now and then where there is no terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    verbosity: Verbosity,
    total: usize,
    mean: Option<f64>,
    /// When the last line was printed.
    said: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(verbosity: Verbosity, done: usize, total: usize) -> Self {
        let bar = ProgressBar::new(total as u64).with_position(done as u64);
        let template = "training [{bar:30}] {pos}/{len}, {elapsed} gone, {eta} left; {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        if verbosity == Verbosity::Quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.reset_eta();
        Self { bar, verbosity, total, mean: None, said: None }
    }

    pub(crate) fn show(&mut self, step: &LoggedStep) {
        let mean = self.mean.map_or(step.loss, |mean| DECAY * mean + (1.0 - DECAY) * step.loss);
        self.mean = Some(mean);
        let message = format!(
            "loss {:.4} (mean {mean:.4}), gradient {:.3}, learning rate {:.2e}",
            step.loss, step.grad_norm, step.learning_rate
        );
        let is_due = self.said.is_none_or(|said| said.elapsed() > INTERVAL) || step.step == self.total;
        if is_due && self.verbosity == Verbosity::Normal && !std::io::stderr().is_terminal() {
            let left = self.bar.eta().as_secs();
            self.said = Some(Instant::now());
            say(format_args!("step {} of {}: {message}, {left} s left", step.step, self.total));
        }
        self.bar.set_position(step.step as u64);
        self.bar.set_message(message);
    }

    pub(crate) fn note(&self, line: impl std::fmt::Display) {
        self.bar.suspend(|| self.verbosity.note(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
