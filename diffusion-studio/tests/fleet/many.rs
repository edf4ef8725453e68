//! Many jobs, and processes that are killed at random.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Row;

use crate::client::{numbers, small};
use crate::postgres::free_port;
use crate::programs::{Fleet, Program, Visitor};

const USERS: u64 = 10;
const JOBS_OF_USER: u64 = 30;
const WORKERS: usize = 3;

/// 300 jobs of 10 users, while workers and front ends are killed, and Postgres is restarted twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_is_answered_once_with_the_picture_that_one_process_draws() {
    let mut fleet = Fleet::new();
    let ports = [free_port(), free_port()];
    let mut fronts = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        fronts.push(fleet.front_on(&format!("front{index}"), *port).await);
    }
    let mut workers: Vec<Program> = (0..WORKERS).map(|index| fleet.worker(&format!("worker{index}"))).collect();
    let urls: Vec<String> = fronts.iter().map(Program::url).collect();
    let asking: Vec<_> = (0..USERS).map(|user| tokio::spawn(ask(urls.clone(), user))).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch_workers(fleet.postgres.url(), is_over.clone()));

    let mut random = numbers();
    let mut killed = [0, 0];
    let mut database = fleet.database().await;
    for round in 0..18 {
        tokio::time::sleep(Duration::from_millis(500 + random.next().unwrap() % 700)).await;
        let chosen = random.next().unwrap();
        match round {
            6 | 12 => {
                fleet.postgres.end();
                tokio::time::sleep(Duration::from_millis(500 + chosen % 1000)).await;
                fleet.postgres.begin();
                database = fleet.database().await;
            }
            _ if chosen.is_multiple_of(3) => {
                let index = chosen as usize / 3 % fronts.len();
                fronts.remove(index).kill();
                let port = ports.iter().copied().find(|port| fronts.iter().all(|front| front.port != Some(*port))).unwrap();
                fronts.push(fleet.front_on(&format!("front-again{round}"), port).await);
                killed[0] += 1;
            }
            _ => {
                let index = chosen as usize / 3 % WORKERS;
                // A job that loses its worker twice is given up, as it should be.
                if draws_again(&database).await {
                    continue;
                }
                workers.remove(index).kill();
                workers.push(fleet.worker(&format!("worker-again{round}")));
                killed[1] += 1;
            }
        }
    }
    assert!(killed.iter().all(|&killed| killed > 1), "{killed:?}");
    let mut asked = Vec::new();
    for user in asking {
        asked.push(user.await.unwrap());
    }

    // What one process alone draws.
    let alone = tempfile::tempdir().unwrap();
    let port = free_port();
    let port_text = port.to_string();
    let options = [("STUDIO_PORT", &*port_text)];
    let reference = Program::start(alone.path(), "alone", &[], &options, Some(port));
    reference.until_live().await;
    let mut own = Visitor::new(&[reference.url()], 0).await;

    let mut again = 0;
    for (visitor, ids) in &mut asked {
        let mut listed = BTreeSet::new();
        for (seed, id) in ids.iter() {
            let job = visitor.ended(id).await;
            assert_eq!(job["status"], "completed", "{job}");
            again += job["attempts"].as_u64().unwrap() - 1;
            let bytes = visitor.bytes(job["images"][0]["url"].as_str().unwrap()).await;
            let drawn = own.submit(&seed.to_string(), &small("a disc", *seed)).await;
            let drawn = own.ended(&drawn).await;
            let expected = own.bytes(drawn["images"][0]["url"].as_str().unwrap()).await;
            assert!(bytes == expected, "the picture of seed {seed} is another one");
            listed.insert(id.clone());
        }
        let history = visitor.get("/api/v1/history?limit=200").await;
        let found: Vec<&str> = history["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
        assert_eq!((found.len(), found.into_iter().map(str::to_owned).collect()), (ids.len(), listed), "each is there once");
    }
    assert!(again > 0, "no kill met a job that was drawn");
    is_over.store(true, Ordering::Relaxed);
    watching.await.unwrap();
    check_database(&database).await;
    let pictures = std::fs::read_dir(fleet.store().join("pictures")).unwrap().flatten().map(|entry| entry.file_name());
    // What a killed worker had not finished has another name, and is never read.
    let pictures = pictures.filter(|name| !name.to_string_lossy().contains('#')).count();
    assert_eq!(pictures as u64, USERS * JOBS_OF_USER, "there is one file for each picture");
    check_logs(&fleet, &database).await;
}

/// Ask for the jobs of a user, at whichever front end answers: the visitor, and the jobs by their seeds.
async fn ask(urls: Vec<String>, user: u64) -> (Visitor, BTreeMap<u64, String>) {
    let mut visitor = Visitor::new(&urls, user as usize).await;
    let mut ids = BTreeMap::new();
    for job in 0..JOBS_OF_USER {
        let seed = user * 1000 + job;
        ids.insert(seed, visitor.submit(&seed.to_string(), &small("a disc", seed)).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    (visitor, ids)
}

/// Whether a job is drawn that was drawn before.
async fn draws_again(database: &sqlx::PgPool) -> bool {
    const SELECT: &str = "SELECT EXISTS (SELECT 1 FROM studio.jobs WHERE status = 'running' AND attempts > 1)";
    // If nobody answers, it may be.
    sqlx::query(SELECT).fetch_one(database).await.map_or(true, |row| row.get(0))
}

/// No worker ever has two jobs, and none but those that were taken is drawn.
async fn watch_workers(url: String, is_over: Arc<AtomicBool>) {
    const SELECT: &str = "SELECT worker, count(*) AS jobs FROM studio.jobs WHERE status = 'running' GROUP BY worker";
    let database = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_lazy(&url).unwrap();
    let mut looks = 0;
    while !is_over.load(Ordering::Relaxed) {
        for row in sqlx::query(SELECT).fetch_all(&database).await.unwrap_or_default() {
            let (worker, jobs): (String, i64) = (row.get("worker"), row.get("jobs"));
            assert_eq!(jobs, 1, "{worker} has so many jobs");
            looks += 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(looks > 0, "nobody drew");
}

/// Every job has ended once, and the queue is empty.
async fn check_database(database: &sqlx::PgPool) {
    const LEFT: &str = "SELECT count(*) FROM apalis.jobs WHERE status NOT IN ('Done', 'Killed')";
    let counts = sqlx::query("SELECT status, count(*) FROM studio.jobs GROUP BY status").fetch_all(database).await.unwrap();
    let counts: Vec<(String, i64)> = counts.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(counts, [("completed".to_owned(), (USERS * JOBS_OF_USER) as i64)]);
    let left: i64 = sqlx::query(LEFT).fetch_one(database).await.unwrap().get(0);
    assert_eq!(left, 0, "the queue of apalis has something left");
}

/// No job was begun more often than it was taken.
async fn check_logs(fleet: &Fleet, database: &sqlx::PgPool) {
    let logs = std::fs::read_dir(fleet.folder.path()).unwrap().flatten().map(|entry| entry.path());
    let logs = logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let text: String = logs.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mut begun = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains("begun")) {
        let id = line.split("job=").nth(1).unwrap().split(' ').next().unwrap();
        *begun.entry(id).or_insert(0) += 1;
    }
    let rows = sqlx::query("SELECT id::text, attempts FROM studio.jobs").fetch_all(database).await.unwrap();
    for row in rows {
        let (id, attempts): (String, i32) = (row.get(0), row.get(1));
        let begun = begun.get(id.as_str()).copied().unwrap_or(0);
        assert!((1..=attempts).contains(&begun), "{id} was begun {begun} times, and taken {attempts} times");
    }
    assert!(!text.contains("panicked"), "a process panicked");
}
