//! The table of results, printed row by row: who has to end a run that hangs sees where it did.

use std::any::Any;
use std::error::Error;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use diffusion_app::cli::{PrintError, print};
use diffusion_core::network::NotCaptured;
use serde_json::{Value, json};

/// A case of the table.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) group: &'static str,
    pub(crate) name: String,
    /// What it computes in; empty where that has no meaning.
    pub(crate) precision: String,
}

impl Case {
    pub(crate) fn new(group: &'static str, name: impl Display, precision: impl Display) -> Self {
        Self { group, name: name.to_string(), precision: precision.to_string() }
    }
}

/// What came of a case.
#[derive(Debug)]
enum Outcome {
    /// An error relative to the right numbers, and how large it may be.
    Compared {
        error: f64,
        limit: f64,
    },
    /// It could not be computed.
    Failed(String),
    /// The device has no means for it, which is not wrong.
    Missing(String),
    Measured {
        value: f64,
        unit: &'static str,
        note: String,
    },
}

/// The results so far.
#[derive(Debug)]
pub(crate) struct Table {
    device: String,
    rows: Vec<(Case, Outcome)>,
}

impl Table {
    /// Print the head of the table.
    pub(crate) fn new(device: String) -> Result<Self, PrintError> {
        print(&device)?;
        print(line("", "case", "in", "result", ""))?;
        Ok(Self { device, rows: Vec::new() })
    }

    /// A comparison: `error` computes how far the numbers are from the right ones, of their size. A device that fails, be it by a
    /// panic, fails the case and not the run.
    pub(crate) fn compare(
        &mut self,
        case: Case,
        limit: f64,
        error: impl FnOnce() -> Result<f64, Box<dyn Error>>,
    ) -> Result<(), PrintError> {
        let outcome = match guarded(error) {
            Ok(error) => Outcome::Compared { error, limit },
            Err(reason) => Outcome::Failed(reason),
        };
        self.add(case, outcome)
    }

    /// A measurement: a number, and what else there is to say. An error that says why steps are not captured is no failure.
    pub(crate) fn measure(
        &mut self,
        case: Case,
        unit: &'static str,
        value: impl FnOnce() -> Result<(f64, String), Box<dyn Error>>,
    ) -> Result<(), PrintError> {
        let value = || match value() {
            Err(error) if error.is::<NotCaptured>() => Ok(Err(error.to_string())),
            other => other.map(Ok),
        };
        let outcome = match guarded(value) {
            Ok(Ok((value, note))) => Outcome::Measured { value, unit, note },
            Ok(Err(reason)) => Outcome::Missing(reason),
            Err(reason) => Outcome::Failed(reason),
        };
        self.add(case, outcome)
    }

    fn add(&mut self, case: Case, outcome: Outcome) -> Result<(), PrintError> {
        let (result, note) = match &outcome {
            Outcome::Compared { error, limit } => (format!("{error:.1e}"), format!("at most {limit:.1e}: {}", verdict(&outcome))),
            Outcome::Failed(reason) => ("none".to_owned(), format!("WRONG: {reason}")),
            Outcome::Missing(reason) => ("none".to_owned(), reason.clone()),
            Outcome::Measured { value, unit, note } => (format!("{value:.3} {unit}"), note.clone()),
        };
        print(line(case.group, &case.name, &case.precision, &result, &note))?;
        self.rows.push((case, outcome));
        Ok(())
    }

    /// How many cases can fail, and how many did.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let can_fail = |(_, outcome): &&(Case, Outcome)| matches!(outcome, Outcome::Compared { .. } | Outcome::Failed(_));
        let wrong = self.rows.iter().filter(|(_, outcome)| outcome.is_wrong()).count();
        (self.rows.iter().filter(can_fail).count(), wrong)
    }

    /// All of it.
    pub(crate) fn json(&self) -> Value {
        let row = |(Case { group, name, precision }, outcome): &(Case, Outcome)| {
            let mut row = json!({ "group": group, "case": name, "precision": precision, "right": !outcome.is_wrong() });
            match outcome {
                Outcome::Compared { error, limit } => (row["error"], row["limit"]) = (json!(error), json!(limit)),
                Outcome::Failed(reason) => row["failed"] = json!(reason),
                Outcome::Missing(reason) => row["missing"] = json!(reason),
                Outcome::Measured { value, unit, note } => {
                    (row["value"], row["unit"], row["note"]) = (json!(value), json!(unit), json!(note));
                }
            }
            row
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({ "device": self.device, "version": env!("CARGO_PKG_VERSION"), "right": self.counts().1 == 0, "rows": rows })
    }
}

impl Outcome {
    /// An error that is no number is wrong, too.
    fn is_wrong(&self) -> bool {
        match self {
            Self::Compared { error, limit } => error.is_nan() || error > limit,
            Self::Failed(_) => true,
            Self::Missing(_) | Self::Measured { .. } => false,
        }
    }
}

fn verdict(outcome: &Outcome) -> &'static str {
    if outcome.is_wrong() { "WRONG" } else { "right" }
}

fn line(group: &str, name: &str, precision: &str, result: &str, note: &str) -> String {
    format!("{group:<10} {name:<56} {precision:<5} {result:>16}  {note}").trim_end().to_owned()
}

/// What a computation gives, or in words why it gives nothing.
fn guarded<T>(compute: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(compute)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(said(&*panic)),
    }
    .map_err(|reason| reason.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    said.unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        Case::new("group", "name", "f32")
    }

    #[test]
    fn what_is_too_far_no_number_or_fails_is_wrong_and_the_rest_goes_on() {
        let mut table = Table::new("a device".to_owned()).unwrap();
        table.compare(case(), 0.1, || Ok(0.1)).unwrap();
        table.measure(case(), "ms", || Ok((1.5, "fast".to_owned()))).unwrap();
        assert_eq!(table.counts(), (1, 0));
        assert_eq!(table.json()["right"], true);
        table.compare(case(), 0.1, || Ok(0.11)).unwrap();
        table.compare(case(), 0.1, || Ok(f64::NAN)).unwrap();
        table.compare(case(), 0.1, || Err("no memory".into())).unwrap();
        table.measure(case(), "ms", || panic!("a kernel failed")).unwrap();
        table.measure(case(), "ms", || Err(NotCaptured::Device.into())).unwrap();
        assert_eq!(table.counts(), (5, 4));
        let json = table.json();
        assert_eq!(json["right"], false);
        assert_eq!(json["rows"][5]["failed"], "a kernel failed");
        assert_eq!(json["rows"][1]["value"], 1.5);
        assert_eq!(json["rows"][6]["missing"], NotCaptured::Device.to_string());
    }
}
