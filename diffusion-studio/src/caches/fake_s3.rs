//! A server on the loopback that speaks as much of S3 as the stores here use, and that fails on demand.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use object_store::aws::AmazonS3Builder;
use tokio::runtime::Handle;

/// The only bucket.
pub(super) const BUCKET: &str = "studio-bucket";

/// Objects of a page of a listing: so few that tests have several.
const PAGE: usize = 3;

/// How the server fails.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// It does not.
    None,
    /// It answers this.
    Status(u16),
    /// It takes requests and never answers.
    Hang,
    /// It breaks off in the middle of so many bodies.
    Cut(usize),
    /// It refuses objects whose keys have this in them, but lists them.
    Refuse(&'static str),
}

/// When an object was written, as headers and listings tell it.
#[derive(Clone, Copy)]
pub(super) struct Moment(&'static str, &'static str);

/// Long ago.
pub(super) const OLD: Moment = Moment("Wed, 01 Jan 2020 00:00:00 GMT", "2020-01-01T00:00:00.000Z");
/// In the future, as clocks of servers may be.
pub(super) const NEW: Moment = Moment("Fri, 01 Jan 2100 00:00:00 GMT", "2100-01-01T00:00:00.000Z");

struct Inner {
    objects: BTreeMap<String, (Bytes, Moment)>,
    fault: Fault,
    now: Moment,
    requests: Vec<String>,
}

/// The server. It ends with the runtime.
#[derive(Clone)]
pub(super) struct FakeS3 {
    inner: Arc<Mutex<Inner>>,
    address: String,
}

impl FakeS3 {
    /// Start one at a free port.
    pub(super) fn start(runtime: &Handle) -> Self {
        let inner = Inner { objects: BTreeMap::new(), fault: Fault::None, now: NEW, requests: Vec::new() };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let server = Self { inner: Arc::new(Mutex::new(inner)), address: listener.local_addr().unwrap().to_string() };
        let router = Router::new().fallback(handle).layer(DefaultBodyLimit::disable()).with_state(server.clone());
        runtime.spawn(async move { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await });
        server
    }

    /// How it is reached.
    pub(super) fn settings(&self) -> AmazonS3Builder {
        let s3 = AmazonS3Builder::new().with_endpoint(format!("http://{}", self.address)).with_allow_http(true);
        s3.with_access_key_id("key-id").with_secret_access_key("very-secret")
    }

    /// Fail from now on.
    pub(super) fn fail(&self, fault: Fault) {
        self.inner.lock().unwrap().fault = fault;
    }

    /// What is written from now on counts as written then.
    pub(super) fn set_clock(&self, now: Moment) {
        self.inner.lock().unwrap().now = now;
    }

    /// The keys of all objects.
    pub(super) fn keys(&self) -> Vec<String> {
        self.inner.lock().unwrap().objects.keys().cloned().collect()
    }

    /// The requests since the last call, as `PUT key`.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().requests)
    }
}

async fn handle(State(server): State<FakeS3>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let fault = {
        let mut inner = server.inner.lock().unwrap();
        inner.requests.push(format!("{method} {key}"));
        inner.fault.clone()
    };
    match fault {
        Fault::Status(status) => return (StatusCode::from_u16(status).unwrap(), "<Error/>").into_response(),
        Fault::Hang => std::future::pending().await,
        Fault::Refuse(part) if key.contains(part) => return StatusCode::FORBIDDEN.into_response(),
        _ => {}
    }
    if bucket != BUCKET {
        return (StatusCode::NOT_FOUND, "<Error><Code>NoSuchBucket</Code></Error>").into_response();
    }
    let mut inner = server.inner.lock().unwrap();
    match method {
        Method::PUT => {
            let now = inner.now;
            inner.objects.insert(key.to_owned(), (body, now));
            [(header::ETAG, "\"same\"")].into_response()
        }
        Method::GET if key.is_empty() => list(&inner.objects, uri.query().unwrap_or_default()),
        Method::GET | Method::HEAD => get(&mut inner, key, &headers),
        Method::DELETE => {
            inner.objects.remove(key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// An object, or its end, cut in the middle if that is the fault.
fn get(inner: &mut Inner, key: &str, headers: &HeaderMap) -> Response {
    let Some((bytes, written)) = inner.objects.get(key).cloned() else {
        return (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>").into_response();
    };
    let range = headers.get(header::RANGE).map(|range| range.to_str().unwrap().strip_prefix("bytes=").unwrap());
    let start = range.map_or(0, |range| range.split_once('-').unwrap().0.parse().unwrap());
    let rest = bytes.slice(start..);
    let mut response = Response::builder()
        .header(header::ETAG, "\"same\"")
        .header(header::LAST_MODIFIED, written.0)
        .header(header::CONTENT_LENGTH, rest.len());
    if range.is_some() {
        let whole = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
        response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, whole);
    }
    let body = match &mut inner.fault {
        Fault::Cut(times @ 1..) => {
            *times -= 1;
            let half = rest.slice(..rest.len() / 2);
            Body::from_stream(stream::iter([Ok(half), Err(std::io::Error::other("cut"))]))
        }
        _ => Body::from(rest),
    };
    response.body(body).unwrap()
}

fn list(objects: &BTreeMap<String, (Bytes, Moment)>, query: &str) -> Response {
    let query: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let prefix = query.get("prefix").map_or("", String::as_str);
    let after = query.get("continuation-token").map_or("", String::as_str);
    let mut left = objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after).peekable();
    let (mut contents, mut last) = (String::new(), "");
    for (key, (bytes, written)) in left.by_ref().take(PAGE) {
        let (time, size) = (written.1, bytes.len());
        write!(contents, "<Contents><Key>{key}</Key><LastModified>{time}</LastModified><Size>{size}</Size></Contents>").unwrap();
        last = key;
    }
    let next = left.peek().map(|_| format!("<NextContinuationToken>{last}</NextContinuationToken>")).unwrap_or_default();
    format!("<ListBucketResult>{contents}{next}</ListBucketResult>").into_response()
}
