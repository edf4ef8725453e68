//! Serve a page where people draw, and the protocols that other programs speak.

mod arguments;
mod log;
mod models;
mod options;
mod serve_options;
mod signal;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use diffusion_app::cli::{Verbosity, print, run_server};
use diffusion_studio::{Keys, Limits, Role, Studio, StudioConfig, serve, work};
use tokio::net::TcpListener;

use arguments::{Arguments, Task};
use options::Options;
use serve_options::ServeOptions;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run_server(|| {
        let task = arguments.task()?;
        let (Task::Serve(options, _) | Task::Work(options)) = &task;
        log::start(options.log_format.unwrap_or_default());
        let config = config_of(&task)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match task {
            Task::Serve(..) => runtime.block_on(run(config)),
            Task::Work(_) => runtime.block_on(draw(config)),
        }
    })
}

/// Draw for others.
async fn draw(config: StudioConfig) -> Result<(), Box<dyn Error>> {
    let signal = signal::signal()?;
    let studio = Studio::start(config).await?;
    tell_ready(&studio);
    work(studio, signal).await;
    Ok(())
}

fn tell_ready(studio: &Studio) {
    let config = studio.config();
    tracing::info!(
        models = studio.registry().names(),
        loras = studio.registry().loras.all().len(),
        data = %config.data.display(),
        device = %config.device,
        precision = %studio.registry().default_model().options.precision,
        database = config.fleet.as_ref().map(|fleet| tracing::field::debug(&fleet.database)),
        name = config.fleet.as_ref().map(|fleet| &fleet.name),
        "ready"
    );
}

async fn run(config: StudioConfig) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}; choose another --port or --listen", config.listen))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() && config.keys.is_empty() {
        tracing::warn!("{address} is open to everybody who can reach it, without a key; --api-key-file asks for one");
    }
    let signal = signal::signal()?;
    let studio = Studio::start(config).await?;
    tell_ready(&studio);
    print(format_args!("studio: http://{address}/"))?;
    serve(studio, listener, signal).await?;
    Ok(())
}

/// A hundred thousand years.
const MOST_HOURS: u64 = 876_600_000;

/// What the options mean.
fn config_of(task: &Task) -> Result<StudioConfig, Box<dyn Error>> {
    match task {
        Task::Work(options) => {
            let config = StudioConfig { role: Role::Worker, ..drawing(options)? };
            if config.fleet.is_none() {
                return Err("a worker draws for others: give --database and --store".into());
            }
            Ok(config)
        }
        Task::Serve(options, serve) => serving(serve, drawing(options)?),
    }
}

/// What the options of every process mean.
fn drawing(options: &Options) -> Result<StudioConfig, Box<dyn Error>> {
    let device = options.device()?;
    let data = options.data()?;
    let models = models::find(options, device, Verbosity::Normal)?;
    let default = StudioConfig::new(data.clone(), models);
    let lora_dir = options.lora_dir.clone().unwrap_or_else(|| data.join("loras"));
    std::fs::create_dir_all(&lora_dir)
        .map_err(|error| format!("cannot use {} for LoRAs: {error}; choose another --lora-dir", lora_dir.display()))?;
    Ok(StudioConfig {
        device,
        place: options.place()?,
        precision: options.precision()?,
        captures_steps: options.capture_steps.unwrap_or(default.captures_steps),
        lora_dir: Some(lora_dir),
        cache_size: options.cache_size.map_or(default.cache_size, |size| size.0),
        drain: options.drain_seconds.map_or(default.drain, std::time::Duration::from_secs),
        keep_jobs: options
            .keep_days
            .map_or(default.keep_jobs, |days| std::time::Duration::from_hours(days.saturating_mul(24).min(MOST_HOURS))),
        fleet: options.fleet()?,
        ..default
    })
}

/// What the options of a server mean.
fn serving(options: &ServeOptions, default: StudioConfig) -> Result<StudioConfig, Box<dyn Error>> {
    let listen = std::net::SocketAddr::new(
        options.listen.unwrap_or(default.listen.ip()),
        options.port.unwrap_or(diffusion_studio::DEFAULT_PORT),
    );
    let role = if options.no_worker.unwrap_or(false) { Role::FrontEnd } else { Role::Both };
    if role == Role::FrontEnd && default.fleet.is_none() {
        return Err("--no-worker leaves the drawing to others: give --database and --store".into());
    }
    let max_queue = options.max_queue.unwrap_or(default.max_queue);
    Ok(StudioConfig {
        listen,
        keys: options.api_key_file.as_deref().map(Keys::read).transpose()?.unwrap_or_default(),
        max_queue,
        max_queue_per_user: options.max_queue_per_user.unwrap_or(max_queue.div_ceil(4)),
        shares_cache: options.share_cache.unwrap_or(default.shares_cache),
        jobs_per_minute: options.jobs_per_minute.or(default.jobs_per_minute).filter(|&jobs| jobs > 0),
        allowed_origins: options.allow_origin.clone(),
        model_aliases: options.model_alias.clone(),
        limits: Limits { pixels: options.max_pixels.unwrap_or(default.limits.pixels), ..default.limits },
        role,
        ..default
    })
}
