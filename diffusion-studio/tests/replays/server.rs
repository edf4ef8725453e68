//! A server with small models.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diffusion_models::ComponentPaths;
use diffusion_studio::registry::ModelSource;
use diffusion_studio::{Studio, StudioConfig, router};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

/// The model for those who name none; it is guided by a negative prompt.
pub(crate) const MODEL: &str = "tiny-sd3";
/// A model that takes its guidance as an input.
pub(crate) const DISTILLED: &str = "tiny-flux";

/// A server with small models and some LoRAs.
pub(crate) struct Server {
    router: Router,
    address: IpAddr,
    /// Goes when nobody uses the server any more.
    data: Arc<TempDir>,
}

fn fixture(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// A server that is set up otherwise.
    pub(crate) async fn start_with(change: impl FnOnce(&mut StudioConfig)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let model = |name: &str, folder: &str| ModelSource {
            name: name.to_owned(),
            path: fixture(folder),
            components: ComponentPaths::new(),
            is_miniature: false,
        };
        let models = vec![model(MODEL, "sd3"), model(DISTILLED, "flux-dev")];
        let mut config = StudioConfig::new(data.path().to_owned(), models);
        config.lora_dir = Some(fixture("sd3/lora"));
        config.model_aliases = vec!["our-old-name".to_owned()];
        change(&mut config);
        let studio = Studio::start(config).await.unwrap();
        Self { router: router(&studio), address: [10, 0, 0, 1].into(), data: data.into() }
    }

    /// The same server as somebody else sees it.
    pub(crate) fn seen_from(&self, address: [u8; 4]) -> Self {
        Self { router: self.router.clone(), address: address.into(), data: self.data.clone() }
    }

    /// The answer as it begins.
    pub(crate) async fn open(&self, mut request: Request<Body>) -> Response {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((self.address, 4000))));
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: to_bytes(body, usize::MAX).await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn method(&self, method: Method, path: &str) -> Answer {
        self.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, json: &Value) -> Answer {
        self.post_as(path, json, &[]).await
    }

    /// Post with these headers besides.
    pub(crate) async fn post_as(&self, path: &str, json: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(json.to_string())).unwrap()).await
    }

    /// Post a form: names, names of files, and contents.
    pub(crate) async fn post_form(&self, path: &str, parts: &[(&str, Option<&str>, &[u8])]) -> Answer {
        const BOUNDARY: &str = "8e2c0f1d";
        let mut body = Vec::new();
        for (name, file, content) in parts {
            let file = file.map(|file| format!("; filename=\"{file}\"\r\nContent-Type: image/png")).unwrap_or_default();
            body.extend(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
            body.extend_from_slice(content);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{BOUNDARY}--\r\n").bytes());
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        self.send(Request::post(path).header("content-type", kind).body(Body::from(body)).unwrap()).await
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The JSON of an answer with this status.
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert!(self.headers["content-type"].to_str().unwrap().starts_with("application/json"), "{:?}", self.headers);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The events of a stream: names and data.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        assert_eq!((self.status, &self.headers["content-type"]), (StatusCode::OK, &"text/event-stream".parse().unwrap()));
        let text = std::str::from_utf8(&self.body).unwrap();
        let field =
            |block: &str, name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned);
        let blocks = text.split("\n\n").filter(|block| block.contains("data:"));
        blocks
            .map(|block| (field(block, "event:").unwrap(), serde_json::from_str(&field(block, "data:").unwrap()).unwrap()))
            .collect()
    }
}

/// Width and height of a PNG in base64.
#[track_caller]
pub(crate) fn size_of_png(base64: &Value) -> (u32, u32) {
    let bytes = STANDARD.decode(base64.as_str().unwrap()).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    let image = image::load_from_memory(&bytes).unwrap();
    (image.width(), image.height())
}

/// A PNG to start from.
pub(crate) fn picture(width: u32, height: u32) -> Vec<u8> {
    png(&image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8 * 2, y as u8 * 3, 90])).into())
}

/// A mask that is transparent on its left side.
pub(crate) fn mask_of_alpha(width: u32, height: u32) -> Vec<u8> {
    png(&image::RgbaImage::from_fn(width, height, |x, _| image::Rgba([0, 0, 0, if x < width / 2 { 0 } else { 255 }])).into())
}

/// A mask that is white on its left side.
pub(crate) fn white_mask(width: u32, height: u32) -> Vec<u8> {
    png(&image::GrayImage::from_fn(width, height, |x, _| image::Luma([if x < width / 2 { 255 } else { 0 }])).into())
}

fn png(image: &image::DynamicImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Levels of a PNG in base64, as RGB.
#[track_caller]
pub(crate) fn pixels_of(base64: &Value) -> image::RgbImage {
    image::load_from_memory(&STANDARD.decode(base64.as_str().unwrap()).unwrap()).unwrap().into_rgb8()
}
