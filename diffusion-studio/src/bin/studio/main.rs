//! Serve a page where people draw, and the protocols that other programs speak.

mod arguments;
mod log;
mod models;
mod options;
mod signal;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use diffusion_app::cli::{Verbosity, print, run_server};
use diffusion_studio::{Keys, Limits, Studio, StudioConfig, serve};
use tokio::net::TcpListener;

use arguments::Arguments;
use options::Options;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run_server(|| {
        let options = arguments.with_file()?;
        log::start(options.log_format.unwrap_or_default());
        let config = config(&options)?;
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(config))
    })
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
    let config = studio.config();
    tracing::info!(
        models = studio.registry().names(),
        loras = studio.registry().loras.all().len(),
        data = %config.data.display(),
        device = %config.device,
        precision = %studio.registry().default_model().options.precision,
        "ready"
    );
    print(format_args!("studio: http://{address}/"))?;
    serve(studio, listener, signal).await?;
    Ok(())
}

/// A hundred thousand years.
const MOST_HOURS: u64 = 876_600_000;

/// What the options mean.
fn config(options: &Options) -> Result<StudioConfig, Box<dyn Error>> {
    let device = options.device()?;
    let data = options.data()?;
    let models = models::find(options, device, Verbosity::Normal)?;
    let default = StudioConfig::new(data.clone(), models);
    let listen = std::net::SocketAddr::new(
        options.listen.unwrap_or(default.listen.ip()),
        options.port.unwrap_or(diffusion_studio::DEFAULT_PORT),
    );
    let keys = options.api_key_file.as_deref().map(Keys::read).transpose()?.unwrap_or_default();
    let lora_dir = options.lora_dir.clone().unwrap_or_else(|| data.join("loras"));
    std::fs::create_dir_all(&lora_dir)
        .map_err(|error| format!("cannot use {} for LoRAs: {error}; choose another --lora-dir", lora_dir.display()))?;
    let max_queue = options.max_queue.unwrap_or(default.max_queue);
    Ok(StudioConfig {
        listen,
        device,
        place: options.place()?,
        precision: options.precision()?,
        lora_dir: Some(lora_dir),
        keys,
        max_queue,
        max_queue_per_user: options.max_queue_per_user.unwrap_or(max_queue.div_ceil(4)),
        cache_size: options.cache_size.map_or(default.cache_size, |size| size.0),
        shares_cache: options.share_cache.unwrap_or(default.shares_cache),
        jobs_per_minute: options.jobs_per_minute.or(default.jobs_per_minute).filter(|&jobs| jobs > 0),
        allowed_origins: options.allow_origin.clone(),
        drain: options.drain_seconds.map_or(default.drain, std::time::Duration::from_secs),
        keep_jobs: options
            .keep_days
            .map_or(default.keep_jobs, |days| std::time::Duration::from_hours(days.saturating_mul(24).min(MOST_HOURS))),
        model_aliases: options.model_alias.clone(),
        limits: Limits { pixels: options.max_pixels.unwrap_or(default.limits.pixels), ..default.limits },
        ..default
    })
}
