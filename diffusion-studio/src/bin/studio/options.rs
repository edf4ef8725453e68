//! The options of `studio`, wherever they come from.

#![allow(clippy::doc_markdown, reason = "these texts are what --help prints, where backticks would be noise")]

use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use diffusion_app::device::DeviceName;
use diffusion_app::placement::PlacementNames;
use diffusion_app::precision::PrecisionName;
use diffusion_studio::FleetConfig;
use etcetera::BaseStrategy;
use serde::Deserialize;

/// Options of every process, from the command line, the environment or a file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
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
    /// Let the device repeat the first step of a size as a graph of kernels, with less work for the CPU, as txt2img does
    /// [default: false].
    #[arg(long, value_name = "BOOL", env = "STUDIO_CAPTURE_STEPS", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) capture_steps: Option<bool>,
    /// Bytes that finished pictures take, and as many for those that were sent, as 500MB or 20GB; the oldest go first
    /// [default: 4GiB].
    #[arg(long, value_name = "BYTES", env = "STUDIO_CACHE_SIZE")]
    pub(crate) cache_size: Option<ByteSize>,
    /// Days that finished jobs are listed [default: 30].
    #[arg(long, value_name = "N", env = "STUDIO_KEEP_DAYS")]
    pub(crate) keep_days: Option<u64>,
    /// Seconds that the running job may go on when the server is told to end [default: 30].
    #[arg(long, value_name = "N", env = "STUDIO_DRAIN_SECONDS")]
    pub(crate) drain_seconds: Option<u64>,
    /// Form of the log on standard error: text or json [default: text].
    #[arg(long, value_enum, value_name = "FORM", env = "STUDIO_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Database of a queue that is shared with other processes: postgres://USER:PASSWORD@HOST/NAME. It goes with --store.
    #[arg(long, value_name = "URL", env = "STUDIO_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,
    /// Where processes that share a queue keep pictures: s3://BUCKET/PREFIX, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    /// AWS_REGION and AWS_ENDPOINT_URL in the environment, or file:///FOLDER.
    #[arg(long, value_name = "URL", env = "STUDIO_STORE")]
    pub(crate) store: Option<String>,
    /// What people call this process among those that share a queue; how fast it draws is remembered under it
    /// [default: the name of the machine].
    #[arg(long, value_name = "NAME", env = "STUDIO_NAME")]
    pub(crate) name: Option<String>,
    /// Seconds after which a process that says nothing counts as gone, so that others draw its job [default: 30].
    #[arg(long, value_name = "N", env = "STUDIO_WORKER_TIMEOUT")]
    pub(crate) worker_timeout: Option<u64>,
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

/// A list that was given, or else another one.
pub(crate) fn first(own: Vec<String>, other: Vec<String>) -> Vec<String> {
    if own.is_empty() { other } else { own }
}

impl Options {
    /// These options, and those of `other` where these say nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            data: self.data.or(other.data),
            model: first(self.model, other.model),
            vae: first(self.vae, other.vae),
            clip_l: first(self.clip_l, other.clip_l),
            clip_g: first(self.clip_g, other.clip_g),
            t5xxl: first(self.t5xxl, other.t5xxl),
            model_config: first(self.model_config, other.model_config),
            lora_dir: self.lora_dir.or(other.lora_dir),
            device: self.device.or(other.device),
            place: self.place.or(other.place),
            precision: self.precision.or(other.precision),
            capture_steps: self.capture_steps.or(other.capture_steps),
            cache_size: self.cache_size.or(other.cache_size),
            keep_days: self.keep_days.or(other.keep_days),
            drain_seconds: self.drain_seconds.or(other.drain_seconds),
            log_format: self.log_format.or(other.log_format),
            database: self.database.or(other.database),
            store: self.store.or(other.store),
            name: self.name.or(other.name),
            worker_timeout: self.worker_timeout.or(other.worker_timeout),
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

    /// What is shared with other processes, if anything is.
    pub(crate) fn fleet(&self) -> Result<Option<FleetConfig>, Box<dyn Error>> {
        /// How long a process may say nothing.
        const TIMEOUT: u64 = 30;
        /// A shorter time would count processes as gone that are busy.
        const SHORTEST_TIMEOUT: u64 = 2;
        let (database, store) = match (&self.database, &self.store) {
            (Some(database), Some(store)) => (database.parse()?, store.parse()?),
            (None, None) => return Ok(None),
            (Some(_), None) => return Err("--database needs a --store where all processes find the pictures".into()),
            (None, Some(_)) => return Err("--store goes with the --database of the queue; alone, a server uses --data".into()),
        };
        let name = self.name.clone().or_else(machine_name).unwrap_or_else(|| "studio".to_owned());
        let timeout = self.worker_timeout.unwrap_or(TIMEOUT);
        if timeout < SHORTEST_TIMEOUT {
            return Err(format!("--worker-timeout is at least {SHORTEST_TIMEOUT} seconds").into());
        }
        Ok(Some(FleetConfig { database, store, name, timeout: Duration::from_secs(timeout) }))
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

/// The name of the machine.
fn machine_name() -> Option<String> {
    let known = ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|name| std::env::var(name).ok());
    let known = known.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    known.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}
