//! The command line of `txt2img`.

#![allow(clippy::doc_markdown, reason = "these texts are what --help prints, where backticks would be noise")]

use std::error::Error;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};
use diffusion_app::cli::GivenSources;
use diffusion_app::device::DeviceName;
use diffusion_app::placement::PlacementNames;
use diffusion_app::precision::PrecisionName;
use diffusion_app::prompts_file::{PromptsFileError, read_prompts};
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, TRANSFORMER, VAE};
use diffusion_models::{GuidanceKind, ModelInfo, NoiseShift, Settings, StepCache, Tiling};
use diffusion_schedulers::kind::{SamplerKind, ScheduleKind};
use diffusion_schedulers::schedules::CustomSigmas;

use crate::guidance::GuidanceArguments;
use crate::loras::LoraOptions;
use crate::prompt_cache::PromptCacheOptions;
use diffusion_app::cli::numbers::{MAX_SCALE, number, number_above, whole};

/// Draw an image from a prompt with Stable Diffusion 3, 3.5 or FLUX.1.
///
/// Without --model it draws with a miniature that the program carries and knows shapes, letters and landscapes.
#[derive(Parser, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a command line has as many switches as it needs")]
#[command(version)]
pub(crate) struct Arguments {
    /// What the image shall show; each further prompt is an image of its own.
    #[arg(required_unless_present_any = ["prompts_file", "list_models"])]
    prompt: Vec<String>,
    /// A text file with a prompt in each line, drawn after those of the command line; empty lines do not count. UTF-8, or
    /// UTF-16 with a byte order mark.
    #[arg(long, value_name = "FILE")]
    prompts_file: Option<PathBuf>,

    /// The model [default: the miniature].
    ///
    /// A diffusers folder or .dduf file, or a .safetensors or .gguf file; a repository of the Hugging Face hub, of which what is needed is
    /// downloaded once: `ORG/NAME[@REVISION][:FILE]`; or the name of a known model, as flux-dev or flux-dev:q8. What exists
    /// here is taken first.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Print the known models with their sizes and licences, and whether they are downloaded already; draw nothing.
    #[arg(long)]
    pub(crate) list_models: bool,
    /// What the image shall not show.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) negative_prompt: String,
    /// Number of steps [default: what the model's authors recommend].
    #[arg(long, value_name = "N", value_parser = whole(1..=MAX_STEPS))]
    steps: Option<usize>,
    /// Sampler: euler, heun, dpmpp_2m, uni_pc, ddim, euler_ancestral, dpmpp_2m_sde, lcm ...; any other word lists them all.
    #[arg(long, value_name = "NAME", default_value = "euler")]
    sampler: SamplerKind,
    /// Noise schedule: simple, normal, sgm_uniform, beta, karras ... [default: what the model was released with].
    #[arg(long, value_name = "NAME")]
    schedule: Option<ScheduleKind>,
    /// Shift of the noise levels towards noise: a factor, or `dynamic` for one that grows with the image [default: the model's].
    #[arg(long, allow_hyphen_values = true, value_name = "X")]
    shift: Option<NoiseShift>,
    /// Noise level of the last step, which the others are stretched to.
    #[arg(long, value_name = "SIGMA", value_parser = number_above(0.0, 1.0))]
    shift_terminal: Option<f64>,
    /// Exactly these noise levels, in place of --schedule, --shift, --shift-terminal and --steps.
    #[arg(long, allow_hyphen_values = true, value_name = "LIST", conflicts_with_all = ["schedule", "shift", "shift_terminal", "steps"])]
    sigmas: Option<CustomSigmas>,
    /// An image to start from: PNG, JPEG, WebP, GIF, BMP or TIFF; resampled if it has another size than the one to draw.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// How far to go from the image, above 0 and at most 1.
    #[arg(long, value_name = "X", default_value_t = 0.6, value_parser = number_above(0.0, 1.0), requires = "image")]
    pub(crate) strength: f64,
    /// Which part of --image to regenerate: white to regenerate, black to keep, to the bit.
    #[arg(long, value_name = "FILE", requires = "image")]
    pub(crate) mask: Option<PathBuf>,
    /// Pixels over which the edge of the mask rises, inwards.
    #[arg(long, value_name = "PIXELS", default_value_t = 0, value_parser = whole(0..=MAX_SIDE), requires = "mask")]
    pub(crate) mask_feather: usize,
    /// How strictly to follow the prompt [default: the authors' choice].
    ///
    /// Stable Diffusion 3: scale of classifier-free guidance; 1 draws without, twice as fast. FLUX.1-dev: the distilled
    /// guidance. FLUX.1-schnell has none.
    #[arg(long, value_name = "X", value_parser = number(0.0..=MAX_SCALE))]
    guidance_scale: Option<f64>,
    /// Classifier-free guidance for FLUX.1, which is made to do without; above 1 the negative prompt counts.
    #[arg(long, value_name = "X", value_parser = number(0.0..=MAX_SCALE))]
    true_cfg_scale: Option<f64>,
    /// Width in pixels, a multiple of 16 [default: the model's].
    #[arg(long, value_name = "PIXELS", value_parser = whole(16..=MAX_SIDE))]
    width: Option<usize>,
    /// Height in pixels, a multiple of 16 [default: the model's].
    #[arg(long, value_name = "PIXELS", value_parser = whole(16..=MAX_SIDE))]
    height: Option<usize>,
    /// Seed of the noise; the same seed draws the same image, on every device. Further images count up from it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(0..=u64::MAX))]
    pub(crate) seed: u64,
    /// Number of images of each prompt; at most 10000 in all.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1..=MAX_IMAGES))]
    pub(crate) count: u64,
    /// Images that are drawn at once: the same images, faster on a GPU and with more memory.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1..=MAX_BATCH))]
    pub(crate) batch_size: u64,
    /// Tokens of the prompt that T5 sees [default: its tokenizer's limit, at most 256; 512 for FLUX.1-dev].
    #[arg(long, value_name = "N", value_parser = whole(1..=MAX_TOKENS))]
    max_sequence_length: Option<usize>,

    /// Device: `cpu`, `cuda[:N]`, `rocm[:N]`, `vulkan[:N]`, `metal[:N]` or `webgpu[:N]`, if the program was built with it.
    #[arg(long, default_value_t = DeviceName::Cpu)]
    pub(crate) device: DeviceName,
    /// Components on devices of their own: COMPONENT=DEVICE, several with commas between.
    ///
    /// Components are text_encoders, or clip_l, clip_g and t5xxl by themselves, transformer and vae; what is not named is on --device.
    /// `--device cuda:0 --place text_encoders=cpu,vae=cuda:1` leaves the first GPU to the transformer; `--device cuda:0 --place t5xxl=cpu`
    /// moves the largest text encoder alone. Each device computes in what --precision means on it. The layers of one network stay on
    /// one device.
    #[arg(long, value_name = "COMPONENT=DEVICE,...")]
    place: Option<PlacementNames>,
    /// Numbers to compute in: f32, f16, bf16 (on a CPU for products alone), or `auto`: the narrowest that a GPU has; on a CPU f32,
    /// with products in bf16 where the processor is faster at them (AVX512-BF16) and the model is stored in 16 bits or fewer.
    /// Weights are stored as published.
    #[arg(long, value_name = "NAME", default_value_t = PrecisionName::Auto)]
    pub(crate) precision: PrecisionName,

    /// Autoencoder of its own: a .safetensors file, a folder or a repository, full or tiny (TAESD3).
    #[arg(long, value_name = "PATH")]
    vae: Option<PathBuf>,
    /// CLIP-L of its own, a file, a folder or a repository; `none` draws without the model's.
    #[arg(long, value_name = "PATH")]
    clip_l: Option<PathBuf>,
    /// CLIP-G of its own; `none` draws without.
    #[arg(long, value_name = "PATH")]
    clip_g: Option<PathBuf>,
    /// T5 XXL of its own; `none` draws without, and does not download it.
    #[arg(long, value_name = "PATH")]
    t5xxl: Option<PathBuf>,
    /// A diffusers folder or .dduf file whose configurations and tokenizers go with a single file.
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) loras: LoraOptions,
    #[command(flatten)]
    pub(crate) guidance: GuidanceArguments,
    #[command(flatten)]
    pub(crate) prompt_cache: PromptCacheOptions,

    /// Use work of earlier steps again where it has changed little, which is faster and less exact: `first-block` leaves out
    /// the blocks after the first one, `easy` the whole network.
    #[arg(long, value_name = "NAME")]
    step_cache: Option<StepCache>,
    /// Relative change that --step-cache lets pass [default: 0.05 for first-block, 0.2 for easy].
    #[arg(long, value_name = "X", value_parser = number(0.0..=MAX_SCALE), requires = "step_cache")]
    step_cache_threshold: Option<f64>,
    /// Read the weights of large networks from their files block by block [default: if they do not fit into memory].
    #[arg(long)]
    pub(crate) stream_weights: bool,
    /// Let the device repeat the first step as a graph of kernels, with less work for the CPU: CUDA, ROCm, Vulkan, Metal and WebGPU.
    ///
    /// It costs five evaluations of the network before the first step, and the memory of one until the end, so it is worth while for
    /// many steps or images of a size. Packed weights, fp8 and GGUF, are not captured. `gpu-check` measures both ways on a device.
    #[arg(long)]
    capture_steps: bool,
    /// Print how much memory the run will take, and draw nothing.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Decode the image in overlapping tiles, which takes less memory.
    #[arg(long)]
    tile_vae: bool,
    /// Initial noise from tensor `noise` of a .safetensors file, in place of the seed's.
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
    /// Write the final latents to a .safetensors file, as tensor `latents`.
    #[arg(long, value_name = "FILE")]
    pub(crate) save_latents: Option<PathBuf>,
    /// Besides, every step's latents, as `latents_1` and so on.
    #[arg(long, requires = "save_latents")]
    pub(crate) save_all_latents: bool,
    /// Show what the image will be like in the terminal, at every step or every K-th one.
    #[arg(long, value_name = "K", num_args = 0..=1, require_equals = true, default_missing_value = "1",
        value_parser = whole(1..=MAX_STEPS))]
    pub(crate) preview: Option<usize>,
    /// Write these images, with the number of the step before the extension; formats are those of --output.
    #[arg(long, value_name = "FILE")]
    pub(crate) preview_file: Option<PathBuf>,
    /// A tiny autoencoder (TAESD3, TAEF1) for previews in full detail.
    #[arg(long, value_name = "FILE")]
    pub(crate) preview_vae: Option<PathBuf>,
    /// The image, in the format of its extension: .png, .jpg, .jpeg or .webp; `-` writes a PNG to standard output.
    ///
    /// Where there are several images, a number is put before the extension. A link is followed. A device or a pipe is written
    /// into, and gets a PNG if its name has none of these extensions.
    #[arg(long, short, value_name = "FILE", default_value = "output.png")]
    pub(crate) output: PathBuf,
    /// Print errors and warnings only.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// More steps than anybody needs.
const MAX_STEPS: usize = 10_000;
/// Pixels a side of the largest image that can be asked for; models end earlier.
const MAX_SIDE: usize = 16_384;
/// Images that a run draws at most, and of as many prompts.
pub(crate) const MAX_IMAGES: u64 = 10_000;
/// Images that are drawn at once at most.
const MAX_BATCH: u64 = 64;
/// Tokens beyond what any model takes.
const MAX_TOKENS: usize = 4_096;

impl Arguments {
    /// What the program was called with. Ends the program if that is wrong, or help was asked for.
    pub(crate) fn of_command_line() -> Self {
        let parsed = Self::checked_command().try_get_matches().and_then(|matches| Self::from_arg_matches(&matches));
        parsed.unwrap_or_else(|error| error.exit())
    }

    /// The command line, where negative numbers are values: what is said about them is then their range, and not that no
    /// option has their name.
    fn checked_command() -> clap::Command {
        let is_option = |argument: &clap::Arg| argument.get_long().is_some() && argument.get_action().takes_values();
        Self::command().mut_args(|argument| if is_option(&argument) { argument.allow_negative_numbers(true) } else { argument })
    }

    /// The prompts, those of the file last.
    pub(crate) fn prompts(&self) -> Result<Vec<String>, PromptsFileError> {
        let mut prompts = self.prompt.clone();
        if let Some(path) = &self.prompts_file {
            prompts.extend(read_prompts(path)?);
        }
        Ok(prompts)
    }

    /// Which components go to devices of their own.
    pub(crate) fn placement(&self) -> PlacementNames {
        self.place.clone().unwrap_or_default()
    }

    /// What was given for the model, its components and LoRAs.
    pub(crate) fn given_sources(&self) -> GivenSources<'_> {
        let components = [(CLIP_L, &self.clip_l), (CLIP_G, &self.clip_g), (T5XXL, &self.t5xxl), (VAE, &self.vae)];
        GivenSources {
            model: self.model.as_deref(),
            components: components.into_iter().filter_map(|(id, path)| Some((id, path.as_deref()?))).collect(),
            config: self.config.as_deref(),
            loras: self.loras.lora.iter().map(|lora| lora.path.as_path()).collect(),
        }
    }

    /// The model's settings, with what was given in their place.
    pub(crate) fn settings(&self, info: &ModelInfo) -> Result<Settings, Box<dyn Error>> {
        let mut settings = info.defaults.clone();
        #[cfg(feature = "embedded-model")]
        if self.model.is_none() {
            settings = diffusion_app::embedded_model::recommended(settings);
        }
        let set = |setting: &mut usize, given: Option<usize>| *setting = given.unwrap_or(*setting);
        set(&mut settings.num_steps, self.steps);
        set(&mut settings.width, self.width);
        set(&mut settings.height, self.height);
        set(&mut settings.max_sequence_length, self.max_sequence_length);
        settings.sampler = self.sampler;
        settings.schedule = self.schedule;
        settings.shift = self.shift;
        settings.shift_terminal = self.shift_terminal;
        settings.sigmas = self.sigmas.clone().map(|CustomSigmas(sigmas)| sigmas);
        if let Some(sigmas) = &settings.sigmas {
            settings.num_steps = sigmas.num_steps();
        }
        self.set_scales(&mut settings, info.guidance)?;
        settings.guidance = self.guidance.guidance();
        settings.skip_layers = self.guidance.skip_layers();
        settings.step_cache = self.step_cache();
        settings.tiling = if self.tile_vae { Tiling::Tiled } else { Tiling::Whole };
        Ok(settings)
    }

    /// `--guidance-scale` is what the authors of each model call so; `--true-cfg-scale` is classifier-free guidance where that
    /// is something else.
    fn set_scales(&self, settings: &mut Settings, kind: GuidanceKind) -> Result<(), &'static str> {
        match (kind, self.guidance_scale) {
            (GuidanceKind::ClassifierFree, Some(scale)) => settings.guidance_scale = scale,
            (GuidanceKind::Distilled, Some(guidance)) => settings.distilled_guidance = Some(guidance),
            _ => {}
        }
        match (kind, self.true_cfg_scale) {
            (GuidanceKind::ClassifierFree, Some(_)) => Err(
                "--true-cfg-scale is for models made to do without classifier-free guidance; use --guidance-scale for this one",
            ),
            (_, scale) => {
                settings.guidance_scale = scale.unwrap_or(settings.guidance_scale);
                Ok(())
            }
        }
    }

    /// Whether to capture steps.
    pub(crate) fn captures_steps(&self) -> bool {
        let drawing_on = self.placement().device_of(TRANSFORMER).unwrap_or(self.device);
        self.capture_steps && drawing_on != DeviceName::Cpu
    }

    /// A sentence for every option that was given and has no effect.
    pub(crate) fn without_effect(&self, kind: GuidanceKind, settings: &Settings) -> Vec<String> {
        let mut sentences = Vec::new();
        if kind == GuidanceKind::None && self.guidance_scale.is_some() {
            let reason =
                "with this model, which was distilled to draw without; for classifier-free guidance use --true-cfg-scale";
            sentences.push(format!("--guidance-scale has no effect {reason}"));
        }
        if self.capture_steps && !self.captures_steps() {
            sentences.push("--capture-steps has no effect on a CPU, which has no graphs of kernels".to_owned());
        }
        if !settings.is_guided() {
            let scale = if kind == GuidanceKind::ClassifierFree { "--guidance-scale" } else { "--true-cfg-scale" };
            let negative = (!self.negative_prompt.is_empty()).then_some("--negative-prompt");
            let options = negative.into_iter().chain(self.guidance.given());
            sentences.extend(
                options.map(|option| format!("{option} has no effect without classifier-free guidance ({scale} above 1)")),
            );
        }
        sentences
    }

    fn step_cache(&self) -> StepCache {
        match (self.step_cache.unwrap_or_default(), self.step_cache_threshold) {
            (StepCache::FirstBlock { .. }, Some(threshold)) => StepCache::FirstBlock { threshold },
            (StepCache::Easy { start, stop, .. }, Some(threshold)) => StepCache::Easy { threshold, start, stop },
            (cache, _) => cache,
        }
    }
}
