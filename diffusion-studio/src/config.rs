//! How a server is set up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use diffusion_app::device::DeviceName;
use diffusion_app::placement::PlacementNames;
use diffusion_app::precision::PrecisionName;
use diffusion_core::weights::ComponentId;

use crate::fleet::FleetConfig;
use crate::registry::ModelSource;
use crate::security::Keys;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct StudioConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder of everything that lasts.
    pub data: PathBuf,
    /// The models, the first of which is the default.
    pub models: Vec<ModelSource>,
    /// The folder of LoRAs.
    pub lora_dir: Option<PathBuf>,
    /// The device to draw on.
    pub device: DeviceName,
    /// Components on devices of their own.
    pub place: PlacementNames,
    /// What to compute in.
    pub precision: PrecisionName,
    /// Whether steps are captured as a graph of kernels, where the device can:
    /// [`PipelineOptions::captures_steps`](diffusion_models::PipelineOptions::captures_steps).
    pub captures_steps: bool,
    /// Keys, one of which each request needs. Without any, everybody may ask.
    pub keys: Keys,
    /// Jobs that wait at most.
    pub max_queue: usize,
    /// Jobs of one user that wait at most.
    pub max_queue_per_user: usize,
    /// Bytes that finished pictures take at most, and as many that sent ones take.
    pub cache_size: u64,
    /// Whether a picture that one user drew answers the same request of another.
    pub shares_cache: bool,
    /// Jobs that an address or key may ask for in a minute.
    pub jobs_per_minute: Option<u32>,
    /// Origins of other pages that may use the server, as `https://example.org`.
    pub allowed_origins: Vec<String>,
    /// How long the running job may go on when the server is told to end.
    pub drain: Duration,
    /// How long finished jobs are listed.
    pub keep_jobs: Duration,
    /// Names that stand for the default model, besides those that clients have built in.
    pub model_aliases: Vec<String>,
    /// What requests may ask for.
    pub limits: Limits,
    /// What it shares with other processes; nothing, if it stands alone.
    pub fleet: Option<FleetConfig>,
    /// Which part it takes.
    pub role: Role,
}

/// Which part a process takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It answers callers, and draws.
    #[default]
    Both,
    /// It answers callers; others draw.
    FrontEnd,
    /// It draws for others.
    Worker,
}

impl Role {
    /// Whether it answers callers.
    pub fn answers(self) -> bool {
        self != Self::Worker
    }

    /// Whether it draws.
    pub fn draws(self) -> bool {
        self != Self::FrontEnd
    }
}

/// What requests may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of an image.
    pub pixels: usize,
    /// Steps of an image.
    pub steps: usize,
    /// Images of a job.
    pub count: usize,
    /// LoRAs of a job.
    pub loras: usize,
    /// Characters of a prompt.
    pub prompt_chars: usize,
    /// Bytes of a request.
    pub body_bytes: usize,
    /// Bytes of memory that a run may take; `None` where nobody tells how many there are.
    pub memory: Option<usize>,
}

impl Default for Limits {
    /// Four megapixels, and what people need of the rest.
    fn default() -> Self {
        Self { pixels: 4 << 20, steps: 500, count: 16, loras: 16, prompt_chars: 32_000, body_bytes: 64 << 20, memory: None }
    }
}

impl StudioConfig {
    /// The device of a component.
    pub fn device_of(&self, component: ComponentId) -> DeviceName {
        self.place.device_of(component).unwrap_or(self.device)
    }

    /// A server of these models, with everything below `data`, on the loopback.
    pub fn new(data: PathBuf, models: Vec<ModelSource>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)),
            data,
            models,
            lora_dir: None,
            device: DeviceName::Cpu,
            place: PlacementNames::default(),
            precision: PrecisionName::Auto,
            captures_steps: false,
            keys: Keys::default(),
            max_queue: 1000,
            max_queue_per_user: 250,
            cache_size: 4 << 30,
            shares_cache: false,
            jobs_per_minute: Some(600),
            allowed_origins: Vec::new(),
            drain: Duration::from_secs(30),
            keep_jobs: Duration::from_hours(30 * 24),
            model_aliases: Vec::new(),
            limits: Limits::default(),
            fleet: None,
            role: Role::Both,
        }
    }
}

/// The port of programs of this kind.
pub const DEFAULT_PORT: u16 = 7860;
