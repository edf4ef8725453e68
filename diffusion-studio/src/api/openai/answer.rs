//! What is answered when pictures are there.

use axum::http::HeaderMap;
use axum::http::header::HOST;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use super::usage::Usage;
use crate::api::foreign::waited::Picture;
use crate::clock;
use crate::jobs::{JobImage, JobState, LiveJob};
use crate::request::PictureFormat;

/// What is said of every picture of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OpenAiCommon)]
pub(super) struct Common {
    pub(super) size: String,
    pub(super) quality: &'static str,
    pub(super) background: &'static str,
    pub(super) output_format: &'static str,
}

impl Common {
    pub(super) fn of(job: &LiveJob, quality: &'static str) -> Self {
        let drawing = &job.job.drawing;
        let output_format = match drawing.output.format {
            PictureFormat::Png => "png",
            PictureFormat::Jpeg => "jpeg",
            PictureFormat::Webp => "webp",
        };
        let size = format!("{}x{}", drawing.settings.width, drawing.settings.height);
        Self { size, quality, background: "opaque", output_format }
    }
}

/// What is answered when all pictures are there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiAnswer)]
pub(super) struct Answer {
    created: u64,
    data: Vec<Datum>,
    #[serde(flatten)]
    common: Common,
    usage: Usage,
    /// What there is to say about how the request was understood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// A picture: in base64, or its address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiDatum)]
struct Datum {
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    seed: u64,
}

impl Answer {
    /// The answer with pictures in base64, or with their addresses if `base` is where the server is.
    pub(super) fn new(state: &JobState, pictures: &[Picture], common: Common, usage: Usage, base: Option<&str>) -> Self {
        let datum = |(image, picture): (&JobImage, &Picture)| Datum {
            b64_json: base.is_none().then(|| STANDARD.encode(&picture.bytes)),
            url: base.map(|base| format!("{base}{}", image.url())),
            seed: picture.seed,
        };
        let data = state.images.iter().zip(pictures).map(datum).collect();
        Self { created: seconds(clock::now()), data, common, usage, warnings: state.warnings.clone() }
    }
}

/// Where the client finds the server: the name by which it asked.
pub(super) fn base_url(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = text("x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or("http");
    format!("{scheme}://{}", text(HOST.as_str()).unwrap_or("localhost"))
}

/// Whole seconds since 1970.
pub(super) fn seconds(time: f64) -> u64 {
    time as u64
}
