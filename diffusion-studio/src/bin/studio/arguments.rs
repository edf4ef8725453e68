//! The command line of `studio`.

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;

use crate::options::Options;

/// Serve a page where people draw with Stable Diffusion 3, 3.5 and FLUX.1, and the APIs of OpenAI and AUTOMATIC1111.
///
/// Without --model it draws with a miniature that the program carries. Every option can stand in a TOML file too, under its name
/// without the dashes, and in the environment, as `STUDIO_MAX_QUEUE`; the command line counts before the environment, and that
/// before the file.
#[derive(Parser, Debug)]
#[command(version)]
pub(crate) struct Arguments {
    /// A TOML file with options.
    #[arg(long, value_name = "FILE", env = "STUDIO_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

impl Arguments {
    /// The options, those of the file where nothing else says.
    pub(crate) fn with_file(&self) -> Result<Options, Box<dyn Error>> {
        let Some(path) = &self.config else { return Ok(self.options.clone()) };
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let file: Options = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(self.options.clone().or(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str], file: &str) -> Result<Options, Box<dyn Error>> {
        let written = tempfile::NamedTempFile::new()?;
        std::fs::write(written.path(), file)?;
        let path = written.path().to_str().ok_or("no text")?;
        Arguments::try_parse_from([&["studio", "--config", path], arguments].concat())?.with_file()
    }

    #[test]
    fn the_command_line_counts_before_the_file() {
        let file = "port = 1\nmax-queue = 7\nmodel = [\"a\", \"b\"]\ncache-size = \"2GB\"\n";
        let found = options(&["--port", "9"], file).unwrap();
        assert_eq!((found.port, found.max_queue, found.model.len()), (Some(9), Some(7), 2));
        assert_eq!(found.cache_size.map(|size| size.0), Some(2_000_000_000));
    }

    #[test]
    fn components_are_placed_by_the_command_line_before_the_file() {
        let file = "place = \"text_encoders=cpu,vae=cuda:1\"\n";
        let placed = |arguments: &[&str], file| options(arguments, file).and_then(|options| Ok(options.place()?.to_string()));
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
    fn a_misspelt_option_of_a_file_is_named() {
        let error = options(&[], "prot = 1").unwrap_err().to_string();
        assert!(error.contains("prot") && error.contains("unknown field"), "{error}");
    }
}
