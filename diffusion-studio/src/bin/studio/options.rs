//! The options of `studio`, wherever they come from.

#![allow(clippy::doc_markdown, reason = "these texts are what --help prints, where backticks would be noise")]

use std::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use diffusion_app::device::DeviceName;
use diffusion_app::placement::PlacementNames;
use diffusion_app::precision::PrecisionName;
use etcetera::BaseStrategy;
use serde::Deserialize;

/// Options that come from the command line, the environment or a file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// Port to listen on; 0 takes a free one [default: 7860].
    #[arg(long, value_name = "N", env = "STUDIO_PORT")]
    pub(crate) port: Option<u16>,
    /// Address to listen on; 0.0.0.0 is open to the network [default: 127.0.0.1].
    #[arg(long, value_name = "ADDR", env = "STUDIO_LISTEN")]
    pub(crate) listen: Option<IpAddr>,
    /// Folder of everything that lasts: jobs, pictures, encoded prompts [default: diffusion/studio in the user's data folder].
    #[arg(long, value_name = "DIR", env = "STUDIO_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// A model: a file, a folder, a repository of the Hugging Face hub or a known name; NAME=MODEL calls it NAME. May be given
    /// several times; the first one is the default [default: the miniature].
    #[arg(long, value_name = "MODEL", env = "STUDIO_MODEL", value_delimiter = ',')]
    pub(crate) model: Vec<String>,
    /// Autoencoder in place of a model's own: a file, a folder or a repository; NAME=PATH for the model of this name alone.
    #[arg(long, value_name = "PATH", env = "STUDIO_VAE", value_delimiter = ',')]
    pub(crate) vae: Vec<String>,
    /// CLIP-L in place of a model's own, in the same form; `none` draws without.
    #[arg(long, value_name = "PATH", env = "STUDIO_CLIP_L", value_delimiter = ',')]
    pub(crate) clip_l: Vec<String>,
    /// CLIP-G in place of a model's own, in the same form; `none` draws without.
    #[arg(long, value_name = "PATH", env = "STUDIO_CLIP_G", value_delimiter = ',')]
    pub(crate) clip_g: Vec<String>,
    /// T5 XXL in place of a model's own, in the same form; `none` draws without.
    #[arg(long, value_name = "PATH", env = "STUDIO_T5XXL", value_delimiter = ',')]
    pub(crate) t5xxl: Vec<String>,
    /// Folder whose configurations and tokenizers go with a single file, in the same form.
    #[arg(long, value_name = "DIR", env = "STUDIO_MODEL_CONFIG", value_delimiter = ',')]
    pub(crate) model_config: Vec<String>,
    /// Another name for the default model, for clients with names built in; may be given several times.
    #[arg(long, value_name = "NAME", env = "STUDIO_MODEL_ALIAS", value_delimiter = ',')]
    pub(crate) model_alias: Vec<String>,
    /// Folder of LoRAs [default: loras in the data folder].
    #[arg(long, value_name = "DIR", env = "STUDIO_LORA_DIR")]
    pub(crate) lora_dir: Option<PathBuf>,
    /// Device: `cpu`, `cuda[:N]`, `rocm[:N]`, `vulkan[:N]`, `metal[:N]` or `webgpu[:N]`, if the program was built with it
    /// [default: cpu].
    #[arg(long, value_name = "NAME", env = "STUDIO_DEVICE")]
    pub(crate) device: Option<String>,
    /// Components on devices of their own, as text_encoders=cpu,transformer=cuda:0,vae=cuda:1; also clip_l, clip_g and t5xxl. What is
    /// not named is on --device.
    #[arg(long, value_name = "COMPONENT=DEVICE,...", env = "STUDIO_PLACE")]
    pub(crate) place: Option<String>,
    /// Numbers to compute in: f32, f16, bf16 or auto [default: auto].
    #[arg(long, value_name = "NAME", env = "STUDIO_PRECISION")]
    pub(crate) precision: Option<String>,
    /// File of keys, one a line as NAME:KEY; without it everybody who reaches the server may ask.
    #[arg(long, value_name = "FILE", env = "STUDIO_API_KEY_FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Jobs that wait at most; more are refused with the time to wait [default: 1000].
    #[arg(long, value_name = "N", env = "STUDIO_MAX_QUEUE")]
    pub(crate) max_queue: Option<usize>,
    /// Jobs of one user that wait at most [default: a quarter of --max-queue].
    #[arg(long, value_name = "N", env = "STUDIO_MAX_QUEUE_PER_USER")]
    pub(crate) max_queue_per_user: Option<usize>,
    /// Jobs that a key or an address may ask for in a minute; 0 for no limit [default: 600].
    #[arg(long, value_name = "N", env = "STUDIO_JOBS_PER_MINUTE")]
    pub(crate) jobs_per_minute: Option<u32>,
    /// Bytes that finished pictures take, and as many for those that were sent, as 500MB or 20GB; the oldest go first
    /// [default: 4GiB].
    #[arg(long, value_name = "BYTES", env = "STUDIO_CACHE_SIZE")]
    pub(crate) cache_size: Option<ByteSize>,
    /// Answer a request with the picture that another user drew with exactly the same settings [default: false].
    #[arg(long, value_name = "BOOL", env = "STUDIO_SHARE_CACHE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) share_cache: Option<bool>,
    /// Days that finished jobs are listed [default: 30].
    #[arg(long, value_name = "N", env = "STUDIO_KEEP_DAYS")]
    pub(crate) keep_days: Option<u64>,
    /// Pixels of the largest image [default: 4194304].
    #[arg(long, value_name = "N", env = "STUDIO_MAX_PIXELS")]
    pub(crate) max_pixels: Option<usize>,
    /// Origin of another page that may use the server, as `https://example.org`; may be given several times.
    #[arg(long, value_name = "ORIGIN", env = "STUDIO_ALLOW_ORIGIN", value_delimiter = ',')]
    pub(crate) allow_origin: Vec<String>,
    /// Seconds that the running job may go on when the server is told to end [default: 30].
    #[arg(long, value_name = "N", env = "STUDIO_DRAIN_SECONDS")]
    pub(crate) drain_seconds: Option<u64>,
    /// Form of the log on standard error: text or json [default: text].
    #[arg(long, value_enum, value_name = "FORM", env = "STUDIO_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// Forms of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs, an object a line.
    Json,
}

/// A number of bytes: `500MB`, `20GB`, `4GiB` or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ByteSize(pub(crate) u64);

/// A smaller cache would throw away what was just drawn.
const SMALLEST: u64 = 64 << 20;

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 7] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
        ];
        let text = text.trim();
        let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1));
        let number: f64 = number.trim().parse().map_err(|_| format!("{text:?} is no number of bytes, as 500MB or 20GB"))?;
        let bytes = (number * unit as f64) as u64;
        if bytes < SMALLEST {
            return Err(format!("a cache has at least {} MiB", SMALLEST >> 20));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Options {
    /// These options, and those of `other` where these say nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        let first = |own: Vec<String>, other| if own.is_empty() { other } else { own };
        Self {
            port: self.port.or(other.port),
            listen: self.listen.or(other.listen),
            data: self.data.or(other.data),
            model: first(self.model, other.model),
            vae: first(self.vae, other.vae),
            clip_l: first(self.clip_l, other.clip_l),
            clip_g: first(self.clip_g, other.clip_g),
            t5xxl: first(self.t5xxl, other.t5xxl),
            model_config: first(self.model_config, other.model_config),
            model_alias: first(self.model_alias, other.model_alias),
            lora_dir: self.lora_dir.or(other.lora_dir),
            device: self.device.or(other.device),
            place: self.place.or(other.place),
            precision: self.precision.or(other.precision),
            api_key_file: self.api_key_file.or(other.api_key_file),
            max_queue: self.max_queue.or(other.max_queue),
            max_queue_per_user: self.max_queue_per_user.or(other.max_queue_per_user),
            jobs_per_minute: self.jobs_per_minute.or(other.jobs_per_minute),
            cache_size: self.cache_size.or(other.cache_size),
            share_cache: self.share_cache.or(other.share_cache),
            keep_days: self.keep_days.or(other.keep_days),
            max_pixels: self.max_pixels.or(other.max_pixels),
            allow_origin: first(self.allow_origin, other.allow_origin),
            drain_seconds: self.drain_seconds.or(other.drain_seconds),
            log_format: self.log_format.or(other.log_format),
        }
    }

    pub(crate) fn device(&self) -> Result<DeviceName, Box<dyn Error>> {
        Ok(self.device.as_deref().unwrap_or("cpu").parse()?)
    }

    pub(crate) fn place(&self) -> Result<PlacementNames, Box<dyn Error>> {
        Ok(self.place.as_deref().map(str::parse).transpose()?.unwrap_or_default())
    }

    pub(crate) fn precision(&self) -> Result<PrecisionName, Box<dyn Error>> {
        Ok(self.precision.as_deref().unwrap_or("auto").parse()?)
    }

    /// The folder of everything that lasts.
    pub(crate) fn data(&self) -> Result<PathBuf, Box<dyn Error>> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let strategy = etcetera::base_strategy::choose_native_strategy()
            .map_err(|error| format!("there is no folder for data: {error}; give --data"))?;
        Ok(strategy.data_dir().join("diffusion").join("studio"))
    }
}
