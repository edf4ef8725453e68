//! LoRAs on the command line.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use diffusion_app::hub::HubReference;
use diffusion_app::lora_mode::lora_mode;
use diffusion_core::Residency;
use diffusion_core::weights::PatchMode;
use diffusion_lora::{Lora, LoraError, LoraSet};

use diffusion_app::cli::display_name;

/// A LoRA and its strength: `FILE`, `FILE:STRENGTH`, or in place of the file a repository, `ORG/NAME[@REVISION][:FILE]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LoraArgument {
    /// The file, a folder with it, or a repository.
    pub(crate) path: PathBuf,
    /// How strong it is; 1 is what it was trained with.
    pub(crate) scale: f64,
}

impl FromStr for LoraArgument {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        let whole = || Self { path: argument.into(), scale: 1.0 };
        // A colon may be a part of the path; a file of that name counts first.
        if Path::new(argument).exists() {
            return Ok(whole());
        }
        match argument.rsplit_once(':') {
            Some((path, scale)) if !scale.contains(['/', '\\']) => {
                match scale.parse().ok().filter(|scale: &f64| scale.is_finite()) {
                    Some(scale) => Ok(Self { path: path.into(), scale }),
                    // The last colon was that before a file of a repository.
                    None if HubReference::parse(argument).is_some() => Ok(whole()),
                    None => Err(format!("{argument:?} does not end in a strength, as in lora.safetensors:0.8")),
                }
            }
            _ => Ok(whole()),
        }
    }
}

/// What `txt2img` is told about LoRAs.
#[derive(clap::Args, Debug)]
pub(crate) struct LoraOptions {
    /// A LoRA, and its strength after a colon: a file, a folder or a repository; may be given several times.
    #[arg(long, value_name = "LORA[:STRENGTH]")]
    pub(crate) lora: Vec<LoraArgument>,
    /// Merge LoRAs with the weights, or compute them beside the weights [default: merge, if memory suffices].
    #[arg(long, value_enum, value_name = "HOW", requires = "lora")]
    pub(crate) lora_mode: Option<LoraMode>,
    /// Use what fits of a LoRA, even if some of it does not.
    #[arg(long, requires = "lora")]
    pub(crate) allow_lora_misfits: bool,
}

/// How LoRAs reach the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LoraMode {
    /// Added to the weights: nothing is slower afterwards.
    Merge,
    /// Beside the weights: nothing is copied.
    Attach,
}

impl LoraOptions {
    /// The files, opened, with their strengths. `paths` are where they are on this machine.
    ///
    /// # Errors
    /// As [`Lora::open`].
    pub(crate) fn set(&self, paths: &[PathBuf]) -> Result<LoraSet, LoraError> {
        let set = self.lora.iter().zip(paths).try_fold(LoraSet::new(), |set, (LoraArgument { scale, .. }, path)| {
            Ok::<_, LoraError>(set.with(&Lora::open(path)?, *scale))
        })?;
        Ok(if self.allow_lora_misfits { set.allowing_mismatch() } else { set })
    }

    /// How to apply them: as asked, and otherwise as [`lora_mode`] has it.
    pub(crate) fn mode(&self, residency: Residency, needed: usize, available: Option<usize>) -> PatchMode {
        match self.lora_mode {
            Some(LoraMode::Attach) => PatchMode::Attach,
            Some(LoraMode::Merge) => PatchMode::Fuse,
            None => lora_mode(residency, needed, available),
        }
    }

    /// Names and strengths, as they are written into an image.
    pub(crate) fn describe(&self) -> String {
        self.lora.iter().fold(String::new(), |text, lora| format!("{text} <lora:{}:{}>", display_name(&lora.path), lora.scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strength_follows_the_last_colon() {
        let parsed = |text: &str| text.parse::<LoraArgument>().map(|lora| (lora.path, lora.scale));
        assert_eq!(parsed("a/b.safetensors:0.8"), Ok(("a/b.safetensors".into(), 0.8)));
        assert_eq!(parsed("b.safetensors:-0.3"), Ok(("b.safetensors".into(), -0.3)));
        assert_eq!(parsed("b.safetensors"), Ok(("b.safetensors".into(), 1.0)));
        assert_eq!(parsed(r"C:\loras\b.safetensors"), Ok((r"C:\loras\b.safetensors".into(), 1.0)));
        assert_eq!(parsed("org/name"), Ok(("org/name".into(), 1.0)));
        assert_eq!(parsed("org/name:0.8"), Ok(("org/name".into(), 0.8)));
        assert_eq!(parsed("org/name@main:b.safetensors"), Ok(("org/name@main:b.safetensors".into(), 1.0)));
        assert_eq!(parsed("org/name:a/b.safetensors:0.8"), Ok(("org/name:a/b.safetensors".into(), 0.8)));
        assert!(parsed("loras/b.safetensors:strong").is_err());
        assert!(parsed("b.safetensors:strong").is_err());
        assert!(parsed("b.safetensors:nan").is_err());
    }

    #[test]
    fn a_mode_that_was_asked_for_counts() {
        let options = |lora_mode| LoraOptions { lora: Vec::new(), lora_mode, allow_lora_misfits: false };
        let resident = Residency::Resident;
        assert_eq!(options(None).mode(resident, 11, Some(10)), PatchMode::Attach);
        assert_eq!(options(Some(LoraMode::Merge)).mode(resident, 11, Some(10)), PatchMode::Fuse);
        assert_eq!(options(Some(LoraMode::Attach)).mode(resident, 9, Some(10)), PatchMode::Attach);
    }
}
