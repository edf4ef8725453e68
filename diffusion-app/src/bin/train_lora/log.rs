//! A line of JSON for each step.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use diffusion_app::output::write_whole;
use diffusion_core::files::read_text;
use diffusion_lora::train::StepReport;
use serde::{Deserialize, Serialize};

/// A step in the log.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoggedStep {
    pub(crate) step: usize,
    pub(crate) loss: f64,
    pub(crate) grad_norm: f64,
    pub(crate) learning_rate: f64,
    pub(crate) seconds: f64,
}

impl LoggedStep {
    pub(crate) fn new(report: StepReport, seconds: f64) -> Self {
        let StepReport { step, loss, gradient_norm: grad_norm, learning_rate } = report;
        Self { step, loss, grad_norm, learning_rate, seconds }
    }
}

/// The log of a run, and all steps that are in it.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<(PathBuf, File)>,
    steps: Vec<LoggedStep>,
}

impl Log {
    /// The log of a run that has taken `steps` steps: later ones are taken out, since they come again.
    pub(crate) fn open(path: Option<&Path>, steps: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let Some(path) = path else { return Ok(Self { file: None, steps: Vec::new() }) };
        let text = if steps > 0 && path.exists() { read_text(path)? } else { String::new() };
        // Lines stay as they are: reading a number and writing it again may change its last digit.
        let kept = text.lines().filter_map(|line| Some((line, serde_json::from_str::<LoggedStep>(line).ok()?)));
        let (lines, kept): (Vec<&str>, Vec<LoggedStep>) = kept.filter(|(_, step)| step.step <= steps).unzip();
        write_whole(path, |out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { file: Some((path.to_owned(), file)), steps: kept })
    }

    pub(crate) fn add(&mut self, step: LoggedStep) -> Result<(), String> {
        self.steps.push(step);
        match &mut self.file {
            Some((path, file)) => {
                let mut line = Vec::new();
                // A line is written at once, so that nobody reads a part of one.
                write_line(&mut line, &step)
                    .and_then(|()| file.write_all(&line))
                    .map_err(|error| format!("{}: {error}", path.display()))
            }
            None => Ok(()),
        }
    }

    /// The steps, from the first that is known.
    pub(crate) fn steps(&self) -> &[LoggedStep] {
        &self.steps
    }
}

fn write_line(out: &mut dyn Write, step: &LoggedStep) -> io::Result<()> {
    serde_json::to_writer(&mut *out, step)?;
    out.write_all(b"\n")
}
