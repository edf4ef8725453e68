//! The frame of a program.

use std::error::Error;
use std::process::ExitCode;

/// Run a program; print what went wrong with all causes, and exit with 1.
///
/// Warnings of the libraries go to standard error, unless the program has a subscriber of its own.
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
    // What hf-hub logs comes back as an error, too.
    let warnings = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::new("warn,hf_hub=off"));
    // Fails if there is a subscriber already, which then has the warnings.
    let _ = warnings.with_writer(std::io::stderr).without_time().with_target(false).try_init();
    match program() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            if let Some(help) = help(&*error) {
                eprintln!("help: {help}");
            }
            ExitCode::FAILURE
        }
    }
}
