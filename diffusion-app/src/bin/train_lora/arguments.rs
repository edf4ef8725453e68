//! The command line of `train-lora`.

#![allow(clippy::doc_markdown, reason = "these texts are what --help prints, where backticks would be noise")]

use std::path::PathBuf;

use clap::{Args, Parser};
use diffusion_app::cli::GivenSources;
use diffusion_app::cli::numbers::{number, number_above, whole};
use diffusion_app::device::DeviceName;
use diffusion_app::precision::PrecisionName;
use diffusion_lora::train::{
    FactorFormat, LearningRateCourse, LoraSpelling, LossSpace, LossWeighting, OptimizerSettings, Targets, TimestepDensity,
};
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, VAE};

use crate::method::{MethodName, RankPattern};
use crate::shift::ShiftName;

/// Train a LoRA for Stable Diffusion 3, 3.5 or FLUX.1 from pictures with captions.
///
/// The same command again goes on where it was stopped, also after a crash or a power cut, and ends with the same file to the bit
/// (on a CPU). Without --model it trains the miniature that the programs carry: a way to try everything in minutes.
#[derive(Parser, Debug)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) model: ModelOptions,
    #[command(flatten)]
    pub(crate) data: DataOptions,
    #[command(flatten)]
    pub(crate) adapter: AdapterOptions,
    #[command(flatten)]
    pub(crate) steps: StepOptions,
    #[command(flatten)]
    pub(crate) noise: NoiseOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    #[command(flatten)]
    pub(crate) samples: SampleOptions,

    /// Print what the run would take in memory, and train nothing.
    #[arg(long, help_heading = "Run")]
    pub(crate) plan: bool,
    /// Begin anew, whatever is there of an earlier run with the same output.
    #[arg(long, help_heading = "Run")]
    pub(crate) restart: bool,
    /// Print errors and warnings only.
    #[arg(long, help_heading = "Run")]
    pub(crate) quiet: bool,
}

/// What is trained for, and on what.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelOptions {
    /// The model [default: the miniature].
    ///
    /// A diffusers folder, a .safetensors or .gguf file, a repository of the Hugging Face hub (ORG/NAME), or the name of a known
    /// model, as sd3.5-medium or flux-dev:q8.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// The model's CLIP-L from elsewhere; `none` for none.
    #[arg(long, value_name = "FILE")]
    pub(crate) clip_l: Option<PathBuf>,
    /// The model's CLIP-G from elsewhere; `none` for none.
    #[arg(long, value_name = "FILE")]
    pub(crate) clip_g: Option<PathBuf>,
    /// The model's T5 XXL from elsewhere; `none` for none.
    #[arg(long, value_name = "FILE")]
    pub(crate) t5xxl: Option<PathBuf>,
    /// The model's autoencoder from elsewhere.
    #[arg(long, value_name = "FILE")]
    pub(crate) vae: Option<PathBuf>,
    /// A diffusers folder with configurations and tokenizers for a single file.
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// Device: `cpu`, `cuda[:N]`, `rocm[:N]`, `vulkan[:N]`, `metal[:N]` or `webgpu[:N]`, if the program was built with it.
    #[arg(long, default_value_t = DeviceName::Cpu)]
    pub(crate) device: DeviceName,
    /// Numbers to compute in: f32; bf16, on a CPU for products with the model's weights alone; or f16. Adapters are f32 in any case.
    #[arg(long, default_value_t = PrecisionName::F32)]
    pub(crate) precision: PrecisionName,
    /// Read weights from their file whenever they are needed: slower, for models larger than the memory.
    #[arg(long)]
    pub(crate) stream_weights: bool,
    /// A LoRA that is on while training and not when drawing, such as the adapter that lets FLUX.1-schnell be trained.
    #[arg(long, value_name = "LORA")]
    pub(crate) assistant_lora: Option<PathBuf>,
}

/// What is learnt from.
#[derive(Args, Debug)]
#[command(next_help_heading = "Pictures")]
pub(crate) struct DataOptions {
    /// A folder of pictures with captions.
    ///
    /// Captions lie beside (a.png, a.txt), in metadata.jsonl, or are in the name of a folder, as in 10_sks dog, whose pictures come ten
    /// times.
    #[arg(long, value_name = "DIR", required_unless_present = "batches")]
    pub(crate) data: Option<PathBuf>,
    /// One caption for all pictures, as in "photo of sks dog".
    #[arg(long, value_name = "TEXT", requires = "data")]
    pub(crate) prompt: Option<String>,
    /// A word for what is learnt: takes the place of `[trigger]` in captions, or is put before them.
    #[arg(long, value_name = "WORD", requires = "data")]
    pub(crate) trigger: Option<String>,
    /// Resolutions in pixels, as in 512,768: a picture is learnt at each that it reaches [default: the model's].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = whole(16..=16_384_usize))]
    pub(crate) resolution: Vec<usize>,
    /// Sides of pictures are multiples of this [default: 64].
    #[arg(long, value_name = "PIXELS", value_parser = whole(1..=1_024_usize))]
    pub(crate) bucket_step: Option<usize>,
    /// Mirror half of the pictures.
    #[arg(long)]
    pub(crate) flip: bool,
    /// Share of captions left out, for classifier-free guidance [default: 0.05, or 0 for models without].
    #[arg(long, value_name = "SHARE", value_parser = number(0.0..=1.0))]
    pub(crate) caption_dropout: Option<f64>,
    /// Pictures of other things of the same kind, which are to stay as they are (prior preservation).
    #[arg(long, value_name = "DIR", requires = "data")]
    pub(crate) class_data: Option<PathBuf>,
    /// One caption for all class pictures, as in "photo of a dog".
    #[arg(long, value_name = "TEXT", requires = "class_data")]
    pub(crate) class_prompt: Option<String>,
    /// How much class pictures count.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = number(0.0..=1_000.0), requires = "class_data")]
    pub(crate) prior_weight: f64,
    /// Where encoded pictures and captions are kept [default: the user's cache folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Given latents, noise, noise levels and embeddings in place of pictures, for comparing with other trainers.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) batches: Option<PathBuf>,
}

/// What is trained.
#[derive(Args, Debug)]
#[command(next_help_heading = "Adapter")]
pub(crate) struct AdapterOptions {
    /// Layers: attention, attention+feed-forward, all, or a regular expression for names as diffusers has them.
    #[arg(long, value_name = "WHICH", default_value_t = Targets::Attention)]
    pub(crate) targets: Targets,
    /// How layers are adapted: lora, dora, or `lokr[:FACTOR]`.
    #[arg(long, value_name = "NAME", default_value_t = MethodName::default())]
    pub(crate) method: MethodName,
    /// Rank: how much can be learnt, and how large the file is [default: 16; 8 for the miniature].
    #[arg(long, value_name = "N", value_parser = whole(1..=1_024_usize))]
    pub(crate) rank: Option<usize>,
    /// Other ranks for layers in whose name a regular expression is found, as in ff=8; the first that suits counts.
    #[arg(long, value_name = "PATTERN=N")]
    pub(crate) rank_of: Vec<RankPattern>,
    /// Changes are scaled by alpha / rank [default: the rank].
    #[arg(long, value_name = "X", value_parser = number_above(0.0, 1e6))]
    pub(crate) alpha: Option<f64>,
    /// Train CLIP-L and CLIP-G along: queries, keys, values and outputs of their attentions.
    ///
    /// They learn new words, and forget others sooner than the transformer does. T5 is never trained.
    #[arg(long, conflicts_with = "batches")]
    pub(crate) train_text_encoders: bool,
    /// A LoRA to go on from, in place of one that changes nothing.
    #[arg(long, value_name = "LORA", conflicts_with_all = ["targets", "method", "rank", "rank_of", "alpha"])]
    pub(crate) init_lora: Option<PathBuf>,
}

/// How steps are taken.
#[derive(Args, Debug)]
#[command(next_help_heading = "Steps")]
pub(crate) struct StepOptions {
    /// Number of steps [default: 1000; 600 for the miniature].
    #[arg(long, value_name = "N", value_parser = whole(1..=10_000_000_usize))]
    pub(crate) steps: Option<usize>,
    /// Optimiser: adamw, adafactor, prodigy (finds the learning rate itself) or lion.
    #[arg(long, value_name = "NAME", default_value_t = OptimizerSettings::default())]
    pub(crate) optimizer: OptimizerSettings,
    /// Learning rate [default: the model's, for AdamW; the optimiser's own for others].
    #[arg(long, value_name = "X", value_parser = number_above(0.0, 1_000.0))]
    pub(crate) learning_rate: Option<f64>,
    /// Learning rate of text encoders [default: a twentieth of the other; with prodigy the same].
    #[arg(long, value_name = "X", value_parser = number_above(0.0, 1_000.0), requires = "train_text_encoders")]
    pub(crate) text_encoder_learning_rate: Option<f64>,
    /// How much parameters shrink [default: the optimiser's].
    #[arg(long, value_name = "X", value_parser = number(0.0..=1_000.0))]
    pub(crate) weight_decay: Option<f64>,
    /// How the learning rate changes: constant, cosine or linear.
    #[arg(long, value_name = "NAME", default_value_t = LearningRateCourse::Constant)]
    pub(crate) lr_scheduler: LearningRateCourse,
    /// Steps until the learning rate is whole [default: a twentieth of the steps, at most 100].
    #[arg(long, value_name = "N", value_parser = whole(0..=10_000_000_usize))]
    pub(crate) warmup_steps: Option<usize>,
    /// Longest gradient of all parameters together; 0 for any [default: the model's].
    #[arg(long, value_name = "X", value_parser = number(0.0..=1e9))]
    pub(crate) max_grad_norm: Option<f64>,
    /// Pictures in a batch [default: 1; 4 for the miniature].
    #[arg(long, value_name = "N", value_parser = whole(1..=1_024_usize))]
    pub(crate) batch_size: Option<usize>,
    /// Batches that make a step: as a larger batch, in the memory of a small one.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1..=1_024_usize))]
    pub(crate) accumulate: usize,
    /// Write a moving average of the parameters with this decay, as 0.99.
    #[arg(long, value_name = "DECAY", value_parser = number_above(0.0, 0.999_999))]
    pub(crate) ema: Option<f64>,
    /// Blocks whose intermediate results are kept, from the last, in place of computing them twice: faster and with more memory, the
    /// same result [default: as many as half of the free memory is enough for].
    #[arg(long, value_name = "N", value_parser = whole(0..=1_000_usize))]
    pub(crate) keep_graphs: Option<usize>,
    /// All that is drawn by chance follows from it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(0..=u64::MAX))]
    pub(crate) seed: u64,
}

/// What is to be told from what.
#[derive(Args, Debug)]
#[command(next_help_heading = "Noise and loss")]
pub(crate) struct NoiseOptions {
    /// How noise levels are spread: logit_normal, uniform, mode or sigmoid.
    #[arg(long, value_name = "NAME", default_value_t = TimestepDensity::default())]
    pub(crate) timesteps: TimestepDensity,
    /// Mean of logit_normal.
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_hyphen_values = true, value_parser = number(-10.0..=10.0))]
    pub(crate) logit_mean: f64,
    /// Standard deviation of logit_normal.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = number_above(0.0, 10.0))]
    pub(crate) logit_std: f64,
    /// Scale of mode.
    #[arg(long, value_name = "X", default_value_t = 1.29, value_parser = number(-1.0..=1.75))]
    pub(crate) mode_scale: f64,
    /// Scale of sigmoid.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = number_above(0.0, 10.0))]
    pub(crate) sigmoid_scale: f64,
    /// Shift of noise levels towards noise: a factor, `none`, or `dynamic` for one that grows with the picture [default: the model's].
    #[arg(long, value_name = "X")]
    pub(crate) shift: Option<ShiftName>,
    /// Choose among the thousand noise levels of diffusers' schedulers, as its scripts do.
    #[arg(long)]
    pub(crate) timestep_table: bool,
    /// Factor of errors by noise level: none, sigma_sqrt or cosmap.
    #[arg(long, value_name = "NAME", default_value_t = LossWeighting::None)]
    pub(crate) weighting: LossWeighting,
    /// What errors are measured in: velocity, or original, the picture that it leads to, as diffusers' script for Stable
    /// Diffusion 3 does.
    #[arg(long, value_name = "NAME", default_value_t = LossSpace::Velocity)]
    pub(crate) loss: LossSpace,
    /// Guidance as an input while training, for FLUX.1-dev.
    ///
    /// At 1 the result works at the guidance that people draw with. At 3.5, what they draw with, it would look washed out.
    #[arg(long, value_name = "X", value_parser = number(0.0..=100.0))]
    pub(crate) guidance: Option<f64>,
}

/// What is written.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// The LoRA, a .safetensors file. What is needed to go on lies beside it until it is removed.
    #[arg(long, short, value_name = "FILE", default_value = "lora.safetensors")]
    pub(crate) output: PathBuf,
    /// How layers are named: diffusers or kohya.
    #[arg(long, value_name = "NAME", default_value_t = LoraSpelling::Diffusers)]
    pub(crate) format: LoraSpelling,
    /// Numbers of the file: f32, bf16 or f16.
    #[arg(long, value_name = "NAME", default_value_t = FactorFormat::F32)]
    pub(crate) dtype: FactorFormat,
    /// Steps between files that are written on the way, as lora-000250.safetensors.
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = whole(1..=10_000_000_usize))]
    pub(crate) save_every: usize,
    /// How many of them to keep.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = whole(1..=1_000_000_usize))]
    pub(crate) keep: usize,
    /// Write a line of JSON for each step: step, loss, grad_norm, learning_rate, seconds.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Draw the loss as an SVG file.
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,
}

/// Pictures that are drawn on the way.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sample pictures")]
#[expect(clippy::struct_field_names, reason = "they are the names of the options")]
pub(crate) struct SampleOptions {
    /// A prompt for sample pictures, which show what was learnt; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub(crate) sample_prompt: Vec<String>,
    /// Steps between sample pictures. The first ones are drawn before the first step.
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = whole(1..=10_000_000_usize))]
    pub(crate) sample_every: usize,
    /// Seed of the first sample picture; others count up.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(0..=u64::MAX))]
    pub(crate) sample_seed: u64,
    /// Steps of a sample picture [default: the model's].
    #[arg(long, value_name = "N", value_parser = whole(1..=10_000_usize))]
    pub(crate) sample_steps: Option<usize>,
}

/// What can be left out depends on what is trained.
#[derive(Clone, Copy, Debug)]
struct Defaults {
    steps: usize,
    batch_size: usize,
    rank: usize,
}

impl OutputOptions {
    /// Each file has a name of its own, and the LoRA one by which it is known as such.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { output, log, chart, .. } = self;
        if output.extension().is_none_or(|extension| extension != "safetensors") {
            return Err(format!("--output is {}; end it in .safetensors", output.display()));
        }
        for (name, path) in [("--log", log), ("--chart", chart)] {
            if path.as_ref() == Some(output) {
                return Err(format!("--output and {name} are both {}; give them two names", output.display()));
            }
        }
        if let Some(log) = log.as_ref().filter(|log| Some(*log) == chart.as_ref()) {
            return Err(format!("--log and --chart are both {}; give them two names", log.display()));
        }
        Ok(())
    }
}

impl Arguments {
    fn defaults(&self) -> Defaults {
        match self.model.model {
            Some(_) => Defaults { steps: 1_000, batch_size: 1, rank: 16 },
            // It is small and learns fast.
            None => Defaults { steps: 600, batch_size: 4, rank: 8 },
        }
    }

    /// Number of steps.
    pub(crate) fn num_steps(&self) -> usize {
        self.steps.steps.unwrap_or(self.defaults().steps)
    }

    /// Pictures in a batch.
    pub(crate) fn batch_size(&self) -> usize {
        self.steps.batch_size.unwrap_or(self.defaults().batch_size)
    }

    /// The rank of layers that no pattern suits.
    pub(crate) fn rank(&self) -> usize {
        self.adapter.rank.unwrap_or(self.defaults().rank)
    }

    /// What was given for the model, its components and the assistant LoRA.
    pub(crate) fn given_sources(&self) -> GivenSources<'_> {
        let ModelOptions { model, clip_l, clip_g, t5xxl, vae, config, assistant_lora, .. } = &self.model;
        let components = [(CLIP_L, clip_l), (CLIP_G, clip_g), (T5XXL, t5xxl), (VAE, vae)];
        GivenSources {
            model: model.as_deref(),
            components: components.into_iter().filter_map(|(id, path)| Some((id, path.as_deref()?))).collect(),
            config: config.as_deref(),
            loras: assistant_lora.iter().chain(&self.adapter.init_lora).map(PathBuf::as_path).collect(),
        }
    }
}
