//! Servers that are killed, and what is left.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{PATIENCE, User, long, numbers, pixels, small};

/// The program, on a port of its own.
struct Program {
    process: Child,
    url: String,
}

impl Program {
    fn start(data: &Path, port: u16) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_studio"))
            .args(["--port", &port.to_string(), "--jobs-per-minute", "0", "--max-queue-per-user", "1000", "--data"])
            .arg(data)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("studio: ").unwrap_or_else(|| panic!("{line:?}")).trim_end_matches('/').to_owned();
        Self { process, url }
    }

    fn port(&self) -> u16 {
        self.url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// As `kill -9` does.
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Bytes in memory.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn browser(url: &str) -> User {
    let user = User { client: Client::builder().cookie_store(true).build().unwrap(), url: url.to_owned() };
    assert_eq!(user.send(Method::GET, "/", None).await.status(), StatusCode::OK);
    user
}

/// Twenty times at random moments: while jobs are asked for, loaded, drawn, written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_is_answered_once_however_often_the_server_is_killed() {
    const JOBS: u64 = 100;
    const KILLS: usize = 20;
    let data = tempfile::tempdir().unwrap();
    let mut program = Program::start(data.path(), 0);
    let port = program.port();
    let user = browser(&program.url).await;
    let asking = tokio::spawn({
        let user = user.clone();
        async move {
            let mut ids = Vec::new();
            for seed in 0..JOBS {
                ids.push(ask_until_answered(&user, seed).await);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            ids
        }
    });
    let mut random = numbers();
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(400 + random.next().unwrap() % 400)).await;
        program.kill();
        program = Program::start(data.path(), port);
    }
    let ids = tokio::time::timeout(PATIENCE, asking).await.expect("asking takes too long").unwrap();
    let mut again = 0;
    for (seed, id) in ids.iter().enumerate() {
        let job = user.ended(id).await;
        assert_eq!(job["status"], "completed", "{job}");
        again += job["attempts"].as_u64().unwrap() - 1;
        let image = pixels(&user.bytes(job["images"][0]["url"].as_str().unwrap()).await);
        assert_eq!((image.dimensions(), job["images"][0]["seed"].as_u64()), ((64, 64), Some(seed as u64)));
    }
    assert!(again > 0, "no kill met a job that ran");
    let history = user.get("/api/v1/history?limit=200").await;
    let mut listed: Vec<&str> = history["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    let mut asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    listed.sort_unstable();
    asked.sort_unstable();
    assert_eq!(listed, asked, "each job is there once, and no other");
    let unfinished = std::fs::read_dir(data.path().join("pictures")).unwrap();
    assert_eq!(unfinished.count(), JOBS as usize, "there is one file for each picture and no rest of one");
}

/// Ask again under the same key until somebody answers, as clients do.
async fn ask_until_answered(user: &User, seed: u64) -> String {
    loop {
        let request = user.request(Method::POST, "/api/v1/jobs").header("Idempotency-Key", seed.to_string());
        if let Ok(response) = request.json(&small("a disc", seed)).send().await
            && response.status().is_success()
            && let Ok(job) = response.json::<Value>().await
        {
            return job["id"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_jobs_keep_their_order_and_a_job_that_ends_the_server_twice_is_failed() {
    let data = tempfile::tempdir().unwrap();
    let mut program = Program::start(data.path(), 0);
    let port = program.port();
    let user = browser(&program.url).await;
    let poison = user.submit(&long("a disc", 1)).await;
    let mut waiting = Vec::new();
    for seed in 0..5 {
        waiting.push(user.submit(&small("a ring", seed)).await);
    }
    for attempt in 1..=2 {
        let job = user.job_when(&poison, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
        assert_eq!(job["attempts"], attempt);
        program.kill();
        program = Program::start(data.path(), port);
    }
    let job = user.ended(&poison).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("crashed")), "{job}");
    assert!(job["error"]["message"].as_str().unwrap().contains("2 times"), "{job}");
    let mut ends = Vec::new();
    for id in &waiting {
        let job = user.ended(id).await;
        assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(1)), "{job}");
        ends.push(job["finished_at"].as_f64().unwrap());
    }
    assert!(ends.is_sorted(), "{ends:?}");
    drop(program);
}

/// 1,000 jobs of 50 users: none lost, none doubled, in turns, within the memory that is promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_jobs_of_fifty_users_come_in_turns() {
    const USERS: usize = 50;
    const JOBS: usize = 20;
    const MOST_BYTES: u64 = 200_000_000;
    let data = tempfile::tempdir().unwrap();
    let program = Program::start(data.path(), 0);
    let blocking = browser(&program.url).await;
    // The model is loaded and has drawn what it will draw.
    blocking.draw(&tiny(0)).await;
    let before = program.memory();
    let blocker = blocking.submit(&long("a disc", 1)).await;
    let began = Instant::now();
    let mut users = Vec::new();
    for _ in 0..USERS {
        users.push(browser(&program.url).await);
    }
    let asking = users.iter().cloned().enumerate().map(|(user, client)| {
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for job in 0..JOBS {
                ids.push(client.submit(&tiny((user * JOBS + job) as u64)).await);
            }
            ids
        })
    });
    let mut ids = Vec::new();
    for asking in asking.collect::<Vec<_>>() {
        ids.push(asking.await.unwrap());
    }
    assert!(began.elapsed() < Duration::from_mins(1), "asking took {:?}", began.elapsed());
    let waiting = users[0].get("/api/v1/queue").await;
    assert_eq!(waiting["waiting"], USERS * JOBS);
    blocking.cancel(&blocker).await;

    let mut starts = Vec::new();
    for (user, client) in users.iter().enumerate() {
        for (turn, id) in ids[user].iter().enumerate() {
            let job = client.ended(id).await;
            assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(1)));
            starts.push((job["started_at"].as_f64().unwrap(), turn));
        }
    }
    starts.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let turns: Vec<usize> = starts.into_iter().map(|(_, turn)| turn).collect();
    assert!(turns.is_sorted(), "nobody's second job comes before everybody's first one: {turns:?}");
    let more = program.memory().saturating_sub(before);
    assert!(more < MOST_BYTES, "the server took {} MB more", more / 1_000_000);
    for client in &users {
        assert_eq!(client.get("/api/v1/history?limit=200").await["jobs"].as_array().unwrap().len(), JOBS);
    }
}

/// The smallest picture.
fn tiny(seed: u64) -> Value {
    json!({ "prompt": "a disc", "seed": seed, "steps": 1, "width": 32, "height": 32, "guidance_scale": 1 })
}
