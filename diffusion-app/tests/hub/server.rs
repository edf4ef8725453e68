//! A hub on the loopback that speaks the protocol of the real one, and misbehaves as it is told.
//!
//! Reference: huggingface.co/docs/hub/api, and what `huggingface_hub` 1.0 reads of its answers (`file_download.py`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use sha2::{Digest, Sha256};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_good";
/// Entries of a page of a listing.
const PAGE: usize = 7;

/// What the server has, and how it misbehaves.
#[derive(Default)]
pub(crate) struct State {
    /// Files by repository and path.
    pub(crate) files: BTreeMap<(String, String), Vec<u8>>,
    /// Repositories that ask to accept terms.
    pub(crate) gated: Vec<String>,
    /// Ends of paths whose answers are cut after so many bytes, so many times.
    pub(crate) cut: Option<(String, usize, usize)>,
    /// End of a path whose bytes come out changed.
    pub(crate) corrupt: Option<String>,
    /// Whether requests for a part are answered with the whole.
    pub(crate) ignores_ranges: bool,
    /// Requests: method, path and range.
    pub(crate) log: Vec<String>,
    /// Whether the place of files saw a token.
    pub(crate) leaked: bool,
    closed: bool,
}

/// A hub on the loopback.
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.lock().unwrap().closed {
                    return; // Drops the listener: later connections are refused.
                }
                let shared = shared.clone();
                thread::spawn(move || answer(stream, &shared, port));
            }
        });
        Self { state, port }
    }

    /// With a folder as a repository.
    pub(crate) fn with_folder(self, repository: &str, folder: &Path) -> Self {
        add_folder(&mut self.state(), repository, folder, "");
        self
    }

    pub(crate) fn with_file(self, repository: &str, path: &str, bytes: &[u8]) -> Self {
        self.state().files.insert((repository.to_owned(), path.to_owned()), bytes.to_vec());
        self
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Requests since the last time.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    pub(crate) fn stop(&self) {
        self.state().closed = true;
        // The listener waits for one more.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state().closed = true;
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn add_folder(state: &mut State, repository: &str, folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() {
            add_folder(state, repository, &entry.path(), &format!("{path}/"));
        } else {
            state.files.insert((repository.to_owned(), path), fs::read(entry.path()).unwrap());
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Large files lie elsewhere, by their SHA-256; small ones on the hub itself.
fn is_large(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|ending| ending == "safetensors" || ending == "gguf")
}

struct Request {
    method: String,
    path: String,
    range: Option<usize>,
    token: Option<String>,
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, path, range: None, token: None };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = value.strip_prefix("bytes=").and_then(|range| range.trim_end_matches('-').parse().ok()),
            "authorization" => request.token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    Some(request)
}

fn answer(mut stream: TcpStream, state: &Mutex<State>, port: u16) {
    let Some(request) = read_request(&stream) else { return };
    let mut state = state.lock().unwrap();
    let range = request.range.map(|range| format!(" from {range}")).unwrap_or_default();
    state.log.push(format!("{} {}{range}", request.method, request.path));
    let path = request.path.split('?').next().unwrap();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (head, body) = match parts[..] {
        ["api", "models", organisation, name, "revision", revision] => info(&state, &format!("{organisation}/{name}"), revision),
        ["api", "models", organisation, name, "tree", _] => tree(&state, &format!("{organisation}/{name}"), &request.path, port),
        ["cdn", organisation, name, ref file @ ..] => {
            state.leaked |= request.token.is_some();
            elsewhere(&mut state, &format!("{organisation}/{name}"), &file.join("/"), request.range)
        }
        [organisation, name, "resolve", _, ref file @ ..] => {
            resolve(&state, &format!("{organisation}/{name}"), &file.join("/"), request.token.as_deref(), port)
        }
        _ => not_found(404, "EntryNotFound"),
    };
    drop(state);
    let _ = stream.write_all(head.as_bytes());
    if request.method != "HEAD" {
        let _ = stream.write_all(&body);
    }
}

type Answer = (String, Vec<u8>);

fn with_length(status: &str, headers: &str, length: usize, body: Vec<u8>) -> Answer {
    (format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"), body)
}

fn not_found(status: u16, code: &str) -> Answer {
    with_length(&format!("{status} Refused"), &format!("X-Error-Code: {code}\r\n"), 0, Vec::new())
}

fn json(headers: &str, value: &serde_json::Value) -> Answer {
    let body = value.to_string().into_bytes();
    with_length("200 OK", &format!("Content-Type: application/json\r\n{headers}"), body.len(), body)
}

/// Strangers are told that there is nothing, whether or not it is private.
fn info(state: &State, repository: &str, revision: &str) -> Answer {
    if !state.files.keys().any(|(known, _)| known == repository) {
        return not_found(401, "RepoNotFound");
    }
    if revision != "main" && revision != COMMIT {
        return not_found(404, "RevisionNotFound");
    }
    let gated = if state.gated.iter().any(|gated| gated == repository) { "auto".into() } else { serde_json::json!(false) };
    json("", &serde_json::json!({"id": repository, "sha": COMMIT, "gated": gated, "private": false}))
}

fn tree(state: &State, repository: &str, query: &str, port: u16) -> Answer {
    let from: usize = query.split_once("cursor=").map_or(0, |(_, cursor)| cursor.parse().unwrap());
    let entries: Vec<_> = state.files.iter().filter(|((known, _), _)| known == repository).collect();
    let page = entries.iter().skip(from).take(PAGE).map(
        |((_, path), bytes)| serde_json::json!({"type": "file", "oid": &sha256(bytes)[..40], "size": bytes.len(), "path": path}),
    );
    let next = if from + PAGE < entries.len() {
        let path = query.split('?').next().unwrap();
        format!("Link: <http://127.0.0.1:{port}{path}?recursive=true&cursor={}>; rel=\"next\"\r\n", from + PAGE)
    } else {
        String::new()
    };
    json(&next, &page.collect())
}

fn resolve(state: &State, repository: &str, file: &str, token: Option<&str>, port: u16) -> Answer {
    if state.gated.iter().any(|gated| gated == repository) && token != Some(TOKEN) {
        return not_found(if token.is_some() { 403 } else { 401 }, "GatedRepo");
    }
    let Some(bytes) = state.files.get(&(repository.to_owned(), file.to_owned())) else {
        return not_found(404, "EntryNotFound");
    };
    let etag = sha256(bytes);
    if is_large(file) {
        // Another host, as the real one is.
        let headers = format!(
            "Location: http://localhost:{port}/cdn/{repository}/{file}\r\nX-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{etag}\"\r\n\
             X-Linked-Size: {}\r\nETag: \"other\"\r\n",
            bytes.len()
        );
        return with_length("302 Found", &headers, 0, Vec::new());
    }
    with_length("200 OK", &format!("X-Repo-Commit: {COMMIT}\r\nETag: \"{}\"\r\n", &etag[..40]), bytes.len(), bytes.clone())
}

fn elsewhere(state: &mut State, repository: &str, file: &str, range: Option<usize>) -> Answer {
    let Some(bytes) = state.files.get(&(repository.to_owned(), file.to_owned())) else {
        return not_found(404, "EntryNotFound");
    };
    let mut bytes = bytes.clone();
    if state.corrupt.as_ref().is_some_and(|end| file.ends_with(end.as_str())) {
        *bytes.last_mut().unwrap() ^= 1;
    }
    let from = range.filter(|_| !state.ignores_ranges);
    if from.is_some_and(|from| from >= bytes.len()) {
        return with_length("416 Range Not Satisfiable", "", 0, Vec::new());
    }
    let total = bytes.len();
    let mut part = bytes.split_off(from.unwrap_or(0));
    let length = part.len();
    if let Some((end, after, times)) = &mut state.cut
        && file.ends_with(end.as_str())
        && *times > 0
    {
        *times -= 1;
        part.truncate(*after);
    }
    match from {
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1);
            with_length("206 Partial Content", &range, length, part)
        }
        None => with_length("200 OK", "", length, part),
    }
}
