//! The frame of a program.

use std::error::Error;
use std::process::ExitCode;

use super::signals;
use super::stdout::say;

/// Run a program; print what went wrong with all causes, and exit with 1.
///
/// Warnings of the libraries go to standard error, unless the program has a subscriber of its own. A signal that ends the process
/// leaves no unfinished files.
pub fn run(program: impl FnOnce() -> Result<(), Box<dyn Error>>) -> ExitCode {
    run_with_help(program, |_| None)
}

/// As [`run`], and under an error `help` tells what to do about it.
///
/// Libraries know no command line: their errors say what is wrong, and `help` says which option puts it right.
pub fn run_with_help(
    program: impl FnOnce() -> Result<(), Box<dyn Error>>,
    help: impl FnOnce(&(dyn Error + 'static)) -> Option<String>,
) -> ExitCode {
    signals::prepare();
    // What hf-hub logs comes back as an error, too.
    let warnings = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::new("warn,hf_hub=off"));
    // Fails if there is a subscriber already, which then has the warnings.
    let _ = warnings.with_writer(std::io::stderr).without_time().with_target(false).try_init();
    exit_code(program(), help)
}

/// Run a program that heeds signals, and has a subscriber for the log, of its own; print what went wrong with all causes, and
/// exit with 1.
pub fn run_server(program: impl FnOnce() -> Result<(), Box<dyn Error>>) -> ExitCode {
    signals::explain_cut_files();
    exit_code(program(), |_| None)
}

fn exit_code(result: Result<(), Box<dyn Error>>, help: impl FnOnce(&(dyn Error + 'static)) -> Option<String>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    say(format_args!("error: {error}"));
    let mut cause = error.source();
    while let Some(error) = cause {
        say(format_args!("  because: {error}"));
        cause = error.source();
    }
    if let Some(help) = help(&*error) {
        say(format_args!("help: {help}"));
    }
    ExitCode::FAILURE
}
