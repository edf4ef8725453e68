//! The command line of `studio`.

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::options::Options;
use crate::serve_options::ServeOptions;

/// Serve a page where people draw with Stable Diffusion 3, 3.5 and FLUX.1, and the APIs of OpenAI and AUTOMATIC1111.
///
/// Without --model it draws with a miniature that the program carries. Every option can stand in a TOML file too, under its name
/// without the dashes, and in the environment, as `STUDIO_MAX_QUEUE`; the command line counts before the environment, and that
/// before the file. With --database and --store, any number of servers and workers share one queue.
#[derive(Parser, Debug)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    serve: ServeOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What the program does besides serving.
#[derive(Subcommand, Debug)]
enum Command {
    /// Draw for the servers that share a queue, and answer nobody: one worker for each device.
    ///
    /// It takes --database and --store, and the same models and LoRAs under the same names as the servers.
    Worker(Given),
}

/// Options of every process.
#[derive(Args, Debug)]
struct Given {
    /// A TOML file with options.
    #[arg(long, value_name = "FILE", env = "STUDIO_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// Answer callers.
    Serve(Options, ServeOptions),
    /// Draw for others.
    Work(Options),
}

impl Arguments {
    /// What is to be done, with the options of the file where nothing else says.
    pub(crate) fn task(self) -> Result<Task, Box<dyn Error>> {
        match self.command {
            Some(Command::Worker(given)) => Ok(Task::Work(given.with_file()?.0)),
            None => {
                let (options, serve) = self.given.with_file()?;
                Ok(Task::Serve(options, self.serve.or(serve)))
            }
        }
    }
}

impl Given {
    /// The options, those of the file where nothing else says, and the file's options for servers.
    fn with_file(self) -> Result<(Options, ServeOptions), Box<dyn Error>> {
        let Some(path) = self.config else { return Ok((self.options, ServeOptions::default())) };
        let text = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let (options, serve) = read_file(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((self.options.or(options), serve))
    }
}

/// The options of a file: a server and its workers may share one.
fn read_file(text: &str) -> Result<(Options, ServeOptions), toml::de::Error> {
    let for_servers = ServeOptions::augment_args(clap::Command::new("serve"));
    let is_for_servers = |name: &str| for_servers.get_arguments().any(|argument| argument.get_long() == Some(name));
    let (serve, other): (toml::Table, toml::Table) =
        text.parse::<toml::Table>()?.into_iter().partition(|(name, _)| is_for_servers(name));
    Ok((other.try_into()?, serve.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str], file: &str) -> Result<(Options, ServeOptions), Box<dyn Error>> {
        let written = tempfile::NamedTempFile::new()?;
        std::fs::write(written.path(), file)?;
        let path = written.path().to_str().ok_or("no text")?;
        match Arguments::try_parse_from([&["studio", "--config", path], arguments].concat())?.task()? {
            Task::Serve(options, serve) => Ok((options, serve)),
            Task::Work(_) => Err("this is no worker".into()),
        }
    }

    #[test]
    fn the_command_line_counts_before_the_file() {
        let file = "port = 1\nmax-queue = 7\nmodel = [\"a\", \"b\"]\ncache-size = \"2GB\"\n";
        let (found, serve) = options(&["--port", "9"], file).unwrap();
        assert_eq!((serve.port, serve.max_queue, found.model.len()), (Some(9), Some(7), 2));
        assert_eq!(found.cache_size.map(|size| size.0), Some(2_000_000_000));
    }

    #[test]
    fn components_are_placed_by_the_command_line_before_the_file() {
        let file = "place = \"text_encoders=cpu,vae=cuda:1\"\n";
        let placed =
            |arguments: &[&str], file| options(arguments, file).and_then(|(options, _)| Ok(options.place()?.to_string()));
        assert_eq!(placed(&[], file).unwrap(), "text_encoders=cpu,vae=cuda:1");
        assert_eq!(placed(&["--place", "t5xxl=cpu"], file).unwrap(), "t5xxl=cpu");
        assert_eq!(placed(&[], "").unwrap(), "");
        assert!(placed(&["--place", "unet=cpu"], "").unwrap_err().to_string().contains("\"unet\" is no component"));
    }

    #[test]
    fn every_option_can_stand_in_a_file_and_in_the_environment() {
        let command = <Arguments as clap::CommandFactory>::command();
        let own: Vec<_> = command
            .get_arguments()
            .filter(|argument| !["config", "help", "version"].contains(&argument.get_id().as_str()))
            .collect();
        assert!(own.len() > 15);
        for argument in own {
            let name = argument.get_long().unwrap();
            let expected = format!("STUDIO_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(expected.as_str()), "{name}");
            // Of the wrong kind, but known.
            let error = options(&[], &format!("{name} = {{}}")).unwrap_err().to_string();
            assert!(!error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn a_worker_takes_what_means_something_to_it() {
        let work = |arguments: &[&str]| Arguments::try_parse_from([&["studio", "worker"], arguments].concat());
        let given = ["--database", "postgres://db/studio", "--store", "/pictures", "--worker-timeout", "9"];
        let Task::Work(options) = work(&given).unwrap().task().unwrap() else { panic!("this is a worker") };
        let fleet = options.fleet().unwrap().unwrap();
        assert_eq!((format!("{:?}", fleet.database).as_str(), fleet.timeout.as_secs()), ("postgres://db:5432/studio", 9));
        let error = work(&["--port", "1"]).unwrap_err().to_string();
        assert!(error.contains("--port"), "{error}");
    }

    #[test]
    fn a_database_and_a_store_go_together() {
        for (given, missing) in [(["--database", "postgres://db/studio"], "--store"), (["--store", "/pictures"], "--database")] {
            let (options, _) = options(&given, "").unwrap();
            let error = options.fleet().unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn a_misspelt_option_of_a_file_is_named() {
        let error = options(&[], "prot = 1").unwrap_err().to_string();
        assert!(error.contains("prot") && error.contains("unknown field"), "{error}");
    }
}
