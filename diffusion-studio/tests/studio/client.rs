//! A server of the miniature, and a client of it.

use std::path::Path;
use std::time::Duration;

use diffusion_studio::registry::ModelSource;
use diffusion_studio::{Studio, StudioConfig, serve};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// No test waits longer.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A server, and the folder of its data.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) data: TempDir,
    end: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Server {
    /// A server of the miniature.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A server that is set up differently.
    pub(crate) async fn with(set_up: impl FnOnce(&mut StudioConfig)) -> Self {
        Self::on(tempfile::tempdir().unwrap(), set_up).await
    }

    /// A server on data that is there.
    pub(crate) async fn on(data: TempDir, set_up: impl FnOnce(&mut StudioConfig)) -> Self {
        let mut config = StudioConfig::new(data.path().to_owned(), vec![ModelSource::miniature().unwrap()]);
        config.jobs_per_minute = None;
        config.lora_dir = Some(data.path().join("loras"));
        set_up(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let studio = Studio::start(config).await.unwrap();
        let (end, ended) = oneshot::channel();
        let serving = serve(studio, listener, async { drop(ended.await) });
        let served = tokio::spawn(async { serving.await.unwrap() });
        Self { url, data, end: Some(end), served }
    }

    /// Ask the server to end, and wait until it has.
    pub(crate) async fn end(mut self) -> TempDir {
        drop(self.end.take());
        self.served.await.unwrap();
        self.data
    }

    /// A client that is nobody in particular: programs without a key.
    pub(crate) fn program(&self) -> User {
        User { client: Client::new(), url: self.url.clone() }
    }

    /// A client with a session of its own, as a browser has one.
    pub(crate) async fn browser(&self) -> User {
        let user = User { client: Client::builder().cookie_store(true).build().unwrap(), url: self.url.clone() };
        assert_eq!(user.send(Method::GET, "/", None).await.status(), StatusCode::OK);
        user
    }
}

/// Somebody who asks.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) client: Client,
    pub(crate) url: String,
}

impl User {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).timeout(PATIENCE)
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let request = self.request(method, path);
        body.into_iter().fold(request, RequestBuilder::json).send().await.unwrap()
    }

    /// What a path answers; it has to be a success.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.send(Method::GET, path, None).await;
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json().await.unwrap()
    }

    /// The bytes that are at a path.
    pub(crate) async fn bytes(&self, path: &str) -> Vec<u8> {
        let response = self.send(Method::GET, path, None).await;
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.bytes().await.unwrap().to_vec()
    }

    /// What asking for a job answers: the status, and the job or the refusal.
    pub(crate) async fn ask(&self, request: &Value) -> (StatusCode, Value) {
        let response = self.send(Method::POST, "/api/v1/jobs", Some(request)).await;
        (response.status(), response.json().await.unwrap())
    }

    /// Ask for a job, which has to be taken: its name.
    pub(crate) async fn submit(&self, request: &Value) -> String {
        let (status, job) = self.ask(request).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{job}");
        job["id"].as_str().unwrap().to_owned()
    }

    /// A job of one's own.
    pub(crate) async fn job(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/jobs/{id}")).await
    }

    /// A job when this holds.
    pub(crate) async fn job_when(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let job = self.job(id).await;
                if holds(&job) {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("this takes too long")
    }

    /// A job when it has ended.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        self.job_when(id, |job| job["finished_at"].is_number()).await
    }

    /// Draw, and wait: the job, which has to be completed.
    pub(crate) async fn draw(&self, request: &Value) -> Value {
        let id = self.submit(request).await;
        let job = self.ended(&id).await;
        assert_eq!(job["status"], "completed", "{job}");
        job
    }

    /// Cancel a job.
    pub(crate) async fn cancel(&self, id: &str) -> Value {
        let response = self.send(Method::DELETE, &format!("/api/v1/jobs/{id}"), None).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    /// A measurement, by its name and labels; 0 if it was never counted.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.bytes("/metrics").await).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// Numbers that are the same in every run.
pub(crate) fn numbers() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(0x2545_f491_4f6c_dd1d_u64), |state| {
        let mut next = *state;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        Some(next)
    })
}

/// A small picture in few steps.
pub(crate) fn small(prompt: &str, seed: u64) -> Value {
    json!({ "prompt": prompt, "seed": seed, "steps": 2, "width": 64, "height": 64 })
}

/// A picture that takes a while.
pub(crate) fn long(prompt: &str, seed: u64) -> Value {
    json!({ "prompt": prompt, "seed": seed, "steps": 400, "width": 256, "height": 256 })
}

/// The pixels of a PNG.
pub(crate) fn pixels(png: &[u8]) -> image::RgbImage {
    image::load_from_memory(png).unwrap().into_rgb8()
}

/// A file of a LoRA for the miniature, whose factors are all this number.
pub(crate) fn write_lora(path: &Path, factor: f32) {
    use diffusion_core::checkpoint::write::{About, CheckpointWriter, Container, TensorSpec};
    use diffusion_core::format::Format;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let names = (0..4).map(|block| format!("transformer.transformer_blocks.{block}.attn.to_q"));
    let width = hidden_size();
    let specs: Vec<TensorSpec> = names
        .flat_map(|name| {
            [("lora_A", vec![2, width]), ("lora_B", vec![width, 2])].map(|(part, shape)| (format!("{name}.{part}.weight"), shape))
        })
        .map(|(name, shape)| TensorSpec { name, shape, format: Format::F32 })
        .collect();
    let sizes: Vec<usize> = specs.iter().map(|spec| spec.shape.iter().product()).collect();
    let entries = [("modelspec.trigger_phrase".to_owned(), "ohwx".to_owned())].into();
    let about = About { entries, ..About::default() };
    let mut writer = CheckpointWriter::create_about(path, Container::Safetensors, specs, &about).unwrap();
    for (index, size) in sizes.into_iter().enumerate() {
        let sign = |number: usize| if (number * 7 + index).is_multiple_of(3) { -factor } else { factor };
        writer.append(&(0..size).flat_map(|number| sign(number).to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    }
    writer.finish().unwrap();
}

/// Width of the miniature's tokens.
fn hidden_size() -> usize {
    let model = diffusion_models::open_model(&diffusion_app::embedded_model().unwrap(), &diffusion_models::ComponentPaths::new());
    model.unwrap().info().hidden_size
}
