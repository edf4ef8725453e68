//! Front ends and workers as processes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{PATIENCE, User};
use crate::postgres::{Postgres, free_port};

/// Processes that share a queue.
pub(crate) struct Fleet {
    pub(crate) postgres: Postgres,
    pub(crate) folder: TempDir,
}

/// Seconds after which a process that says nothing counts as gone.
pub(crate) const TIMEOUT: u64 = 3;

impl Fleet {
    pub(crate) fn new() -> Self {
        Self { postgres: Postgres::start(), folder: tempfile::tempdir().unwrap() }
    }

    /// Where the pictures are.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// A front end; it answers when it is there.
    pub(crate) async fn front(&self, name: &str) -> Program {
        self.front_on(name, free_port()).await
    }

    pub(crate) async fn front_on(&self, name: &str, port: u16) -> Program {
        let program = self.program(name, &["--no-worker", "--port", &port.to_string()], Some(port));
        program.until_live().await;
        program
    }

    /// A worker.
    pub(crate) fn worker(&self, name: &str) -> Program {
        self.program(name, &["worker"], None)
    }

    /// A process that takes part.
    pub(crate) fn program(&self, name: &str, arguments: &[&str], port: Option<u16>) -> Program {
        self.start(name, name, arguments, &[], port)
    }

    /// A process with data in a folder of another name.
    pub(crate) fn program_in(&self, folder: &str, name: &str, arguments: &[&str]) -> Program {
        self.start(folder, name, arguments, &[], None)
    }

    /// A process with more in its environment.
    pub(crate) fn program_with(&self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
        self.start(name, name, arguments, environment, None)
    }

    fn start(&self, folder: &str, name: &str, arguments: &[&str], more: &[(&str, &str)], port: Option<u16>) -> Program {
        let store = format!("file://{}", self.store().display());
        let timeout = TIMEOUT.to_string();
        let url = self.postgres.url();
        let shared =
            [("STUDIO_DATABASE", &*url), ("STUDIO_STORE", &store), ("STUDIO_NAME", name), ("STUDIO_WORKER_TIMEOUT", &timeout)];
        Program::start(self.folder.path(), folder, arguments, &[&shared, more].concat(), port)
    }

    /// A connection to the database.
    pub(crate) async fn database(&self) -> sqlx::PgPool {
        sqlx::postgres::PgPoolOptions::new().max_connections(2).connect(&self.postgres.url()).await.unwrap()
    }
}

/// A process of the program.
pub(crate) struct Program {
    process: Child,
    pub(crate) port: Option<u16>,
    pub(crate) log: PathBuf,
}

impl Program {
    /// Start the program, with data of its own below a folder, and more to its log if there is one.
    pub(crate) fn start(folder: &Path, name: &str, arguments: &[&str], options: &[(&str, &str)], port: Option<u16>) -> Self {
        let log = folder.join(format!("{name}.log"));
        let written = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_studio"));
        command.args(arguments).env("STUDIO_DATA", folder.join(name)).env("RUST_LOG", "info,sqlx=warn");
        if port.is_some() {
            command.env("STUDIO_JOBS_PER_MINUTE", "0").env("STUDIO_MAX_QUEUE_PER_USER", "1000");
        }
        for (option, value) in options {
            command.env(option, value);
        }
        let process = command.stdout(Stdio::null()).stderr(written).spawn().unwrap();
        Self { process, port, log }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.expect("only front ends answer"))
    }

    /// Wait until it answers.
    pub(crate) async fn until_live(&self) {
        let began = Instant::now();
        while Client::new().get(format!("{}/health/live", self.url())).send().await.is_err() {
            assert!(began.elapsed() < PATIENCE, "a front end does not answer: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it has told.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Wait until it has told this.
    pub(crate) async fn until_told(&self, words: &str) {
        let began = Instant::now();
        while !self.log().contains(words) {
            assert!(began.elapsed() < PATIENCE, "{words:?} is not in the log: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// As `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ask it to end, and wait until it has: whether it ended well.
    pub(crate) fn end(mut self) -> bool {
        let signalled = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        signalled.success() && self.process.wait().unwrap().success()
    }

    /// Stop it, as a machine stands still; go on again.
    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap().success());
    }

    /// Whether it has ended, and how.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A browser that knows several front ends, and asks the next one if one does not answer.
#[derive(Clone)]
pub(crate) struct Visitor {
    client: Client,
    urls: Vec<String>,
    next: usize,
}

impl Visitor {
    /// A visitor with a session of its own, which all front ends know.
    pub(crate) async fn new(urls: &[String], first: usize) -> Self {
        let client = Client::builder().cookie_store(true).build().unwrap();
        let mut visitor = Self { client, urls: urls.to_vec(), next: first };
        visitor.ask(Method::GET, "/", None, None).await;
        visitor
    }

    /// The visitor at one front end alone.
    pub(crate) fn at(&self, front: &Program) -> User {
        User { client: self.client.clone(), url: front.url() }
    }

    /// What a front end answers: the one after the last one, or whichever answers well.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, key: Option<&str>, body: Option<&Value>) -> reqwest::Response {
        let began = Instant::now();
        loop {
            self.next += 1;
            let url = &self.urls[self.next % self.urls.len()];
            let mut request = self.client.request(method.clone(), format!("{url}{path}")).timeout(Duration::from_secs(10));
            if let Some(key) = key {
                request = request.header("Idempotency-Key", key);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            match request.send().await {
                Ok(response) if response.status().is_success() => return response,
                Ok(response) if response.status() == 503 => assert!(response.headers().contains_key("retry-after")),
                Ok(response) => panic!("{path}: {}", response.text().await.unwrap()),
                Err(_) => {}
            }
            assert!(began.elapsed() < PATIENCE, "nobody answers {path}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ask for a job: its name.
    pub(crate) async fn submit(&mut self, key: &str, request: &Value) -> String {
        let response = self.ask(Method::POST, "/api/v1/jobs", Some(key), Some(request)).await;
        match response.json::<Value>().await {
            Ok(job) => job["id"].as_str().unwrap().to_owned(),
            // The front end was killed as it answered.
            Err(_) => Box::pin(self.submit(key, request)).await,
        }
    }

    /// What a path tells.
    pub(crate) async fn get(&mut self, path: &str) -> Value {
        loop {
            if let Ok(value) = self.ask(Method::GET, path, None, None).await.json().await {
                return value;
            }
        }
    }

    /// The bytes at a path.
    pub(crate) async fn bytes(&mut self, path: &str) -> Vec<u8> {
        loop {
            if let Ok(bytes) = self.ask(Method::GET, path, None, None).await.bytes().await {
                return bytes.to_vec();
            }
        }
    }

    /// A job when it has ended.
    pub(crate) async fn ended(&mut self, id: &str) -> Value {
        let began = Instant::now();
        loop {
            let job = self.get(&format!("/api/v1/jobs/{id}")).await;
            if job["finished_at"].is_number() {
                return job;
            }
            assert!(began.elapsed() < PATIENCE, "this takes too long: {job}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
