//! What to do on the command line about errors of the libraries, which know no command line.

use std::error::Error;
use std::path::Path;

use diffusion_app::device::DeviceError;
use diffusion_app::devices::NoSuchComponent;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::weights::ComponentId;
use diffusion_lora::{LoraError, SetLorasError};
use diffusion_models::components::TRANSFORMER;
use diffusion_models::config::ConfigError;
use diffusion_models::{FileKind, PipelineError, PromptStoreError, file_kind};

/// What to do about an error, if an option does something about it.
pub(crate) fn help(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref() {
        return of_pipeline(error);
    }
    if let Some(error) = error.downcast_ref() {
        return of_lora(error);
    }
    match error.downcast_ref() {
        Some(SetLorasError::Lora(error)) => return of_lora(error),
        Some(SetLorasError::<PipelineError>::Pipeline(error)) => return of_pipeline(error),
        _ => {}
    }
    if let Some(PromptStoreError::Folder { .. }) = error.downcast_ref() {
        return Some("choose another folder for --cache-prompts, or leave it out".to_owned());
    }
    if let Some(NoSuchComponent { component, .. }) = error.downcast_ref() {
        return Some(format!("leave {} out of --place", component.name()));
    }
    match error.downcast_ref()? {
        DeviceError::NotBuiltIn { feature, .. } => {
            Some(format!("build a program that has it: `cargo build --release -p diffusion-app --features {feature}`"))
        }
        _ => None,
    }
}

fn of_pipeline(error: &PipelineError) -> Option<String> {
    Some(match error {
        PipelineError::MissingComponent { any_of, .. } => {
            let options: Vec<_> = any_of.iter().map(|component| format!("{} FILE", option(*component))).collect();
            format!("add {}", options.join(" or "))
        }
        PipelineError::NoTokenizer { .. } => "add --config DIR with a diffusers folder that has tokenizers".to_owned(),
        _ if lacks_configuration(error) => "add --config DIR with the model's diffusers folder".to_owned(),
        PipelineError::NoImageEncoder { .. } => {
            "leave --vae out, or give the model's full autoencoder with it; --preview-vae takes a tiny one".to_owned()
        }
        PipelineError::NotFinite { .. } => "try --precision f32".to_owned(),
        _ => return None,
    })
}

/// Whether sizes were guessed that the tensors do not tell, as with miniatures.
fn lacks_configuration(error: &PipelineError) -> bool {
    match error {
        PipelineError::OtherModel { expected, .. } => expected.contains("configuration"),
        PipelineError::Config(ConfigError::Unsupported { path, .. }) => path.extension().is_none_or(|ending| ending != "json"),
        _ => false,
    }
}

fn of_lora(error: &LoraError) -> Option<String> {
    Some(match error {
        LoraError::DoesNotFit { report } if report.num_matched() > 0 => "--allow-lora-misfits uses what fits of it".to_owned(),
        LoraError::DoesNotFit { report } => format!(
            "`inspect {}` prints which models it fits; --allow-lora-misfits does not help where nothing fits",
            report.path.display()
        ),
        LoraError::NotALora { path, .. } => of_no_lora(path),
        _ => return None,
    })
}

/// Where a file goes that is no LoRA.
fn of_no_lora(path: &Path) -> String {
    let kind = Checkpoint::open(path).map_or(FileKind::Unknown, |checkpoint| file_kind(&checkpoint));
    let goes_to = match kind {
        FileKind::Denoiser(name) => format!("it is {name}, and a model goes to --model"),
        FileKind::Clip => format!("it is {kind}, which goes to --clip-l or --clip-g"),
        FileKind::T5 => format!("it is {kind}, which goes to --t5xxl"),
        FileKind::AutoencoderKl => format!("it is {kind}, which goes to --vae"),
        FileKind::AutoencoderTiny => format!("it is {kind}, which goes to --preview-vae"),
        FileKind::OtherModel(name) => format!("it is {name}, which is not drawn with"),
        _ => "a model goes to --model".to_owned(),
    };
    format!("--lora takes LoRAs only; {goes_to}")
}

/// The option that takes the file of a component.
fn option(component: ComponentId) -> String {
    if component == TRANSFORMER { "--model".to_owned() } else { format!("--{}", component.name().replace('_', "-")) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::CommandFactory;
    use diffusion_app::device::DeviceName;
    use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, VAE};

    use super::*;

    fn helped(error: impl Error + 'static) -> String {
        help(&error).unwrap_or_else(|| panic!("no help for {error}"))
    }

    fn path() -> PathBuf {
        "model.safetensors".into()
    }

    #[test]
    fn every_error_that_an_option_helps_against_names_the_option() {
        let missing = |any_of: &[ComponentId]| PipelineError::MissingComponent { path: path(), any_of: any_of.to_vec() };
        assert_eq!(helped(missing(&[CLIP_L, CLIP_G, T5XXL])), "add --clip-l FILE or --clip-g FILE or --t5xxl FILE");
        assert_eq!(helped(missing(&[VAE])), "add --vae FILE");
        assert!(helped(PipelineError::NoTokenizer { component: T5XXL }).contains("--config DIR"));
        assert!(helped(PipelineError::NoImageEncoder { path: path() }).contains("--vae"));
        let not_finite = PipelineError::NotFinite { place: "block 3".to_owned(), index: 0, num_steps: 2 };
        assert!(helped(not_finite).contains("--precision f32"));
        let not_a_lora = || LoraError::NotALora { path: path(), found: "weights".to_owned() };
        assert!(helped(not_a_lora()).contains("--model"));
        assert!(helped(SetLorasError::<PipelineError>::Lora(not_a_lora())).contains("--model"));
        let wrapped = SetLorasError::Pipeline(missing(&[VAE]));
        assert_eq!(helped(wrapped), "add --vae FILE");
        let not_there = NoSuchComponent { component: CLIP_G, device: DeviceName::Cpu, has: vec![CLIP_L, VAE] };
        assert_eq!(not_there.to_string(), "clip_g is placed on cpu, and the model has none; it has clip_l, vae");
        assert_eq!(helped(not_there), "leave clip_g out of --place");
        let not_built_in = DeviceError::NotBuiltIn { device: DeviceName::Rocm(0), feature: "rocm" };
        assert!(helped(not_built_in).contains("--features rocm"));
    }

    #[test]
    fn other_errors_have_no_help() {
        assert_eq!(help(&std::fmt::Error), None);
        assert_eq!(help(&PipelineError::NoModelIndex { path: path() }), None);
    }

    #[test]
    fn every_option_of_a_component_is_one_of_the_program() {
        let command = crate::arguments::Arguments::command();
        let options: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).map(|name| format!("--{name}")).collect();
        for component in [CLIP_L, CLIP_G, T5XXL, VAE, TRANSFORMER] {
            assert!(options.contains(&option(component)), "{component}");
        }
    }
}
