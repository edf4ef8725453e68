//! What may go wrong.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::Row;

use crate::client::{long, small};
use crate::programs::{Fleet, Program, Visitor};

/// A picture that takes some seconds.
fn slow(seed: u64) -> serde_json::Value {
    json!({ "prompt": "a star", "seed": seed, "steps": 200, "width": 128, "height": 128 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_drawn_again_once_and_then_given_up() {
    let fleet = Fleet::new();
    let front = fleet.front("front").await;
    let anna = Visitor::new(&[front.url()], 0).await.at(&front);
    let mut worker = fleet.worker("worker");
    // Undisturbed, for comparison.
    let expected = anna.draw(&slow(1)).await;
    let forgotten = anna.send(Method::DELETE, &format!("/api/v1/history/{}", expected["id"].as_str().unwrap()), None).await;
    assert_eq!(forgotten.status(), StatusCode::NO_CONTENT);

    let id = anna.submit(&slow(1)).await;
    anna.job_when(&id, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    worker.kill();
    worker = fleet.worker("worker");
    let job = anna.ended(&id).await;
    assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(2)), "{job}");
    assert_eq!(job["images"][0]["url"], expected["images"][0]["url"], "contents tell names, so this is the same picture");

    let poison = anna.submit(&long("a star", 2)).await;
    for attempt in 1..=2 {
        let job = anna.job_when(&poison, |job| job["attempts"] == attempt && job["progress"]["step"].as_u64() >= Some(1)).await;
        assert_eq!(job["status"], "running");
        worker.kill();
        worker = fleet.worker("worker");
    }
    let job = anna.ended(&poison).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("crashed")), "{job}");
    // The worker goes on with others.
    anna.draw(&small("a star", 3)).await;
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_nothing_is_taken_and_what_was_drawn_is_delivered_later() {
    let mut fleet = Fleet::new();
    let front = fleet.front("front").await;
    let anna = Visitor::new(&[front.url()], 0).await.at(&front);
    let worker = fleet.worker("worker");
    let id = anna.submit(&slow(1)).await;
    anna.job_when(&id, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    fleet.postgres.end();
    let (status, refused) = {
        let response = anna.send(Method::POST, "/api/v1/jobs", Some(&small("a ring", 2))).await;
        assert_eq!(response.headers()["retry-after"], "5");
        (response.status(), response.json::<serde_json::Value>().await.unwrap())
    };
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable")), "{refused}");
    let ready = anna.send(Method::GET, "/health/ready", None).await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(anna.send(Method::GET, "/health/live", None).await.status(), StatusCode::OK);
    worker.until_told("kept until the database takes it").await;
    fleet.postgres.begin();
    let job = anna.ended(&id).await;
    assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(1)), "{job}");
    anna.draw(&small("a ring", 2)).await;
    assert_eq!(anna.send(Method::GET, "/health/ready", None).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_jobs_fail_with_its_words_and_go_on_when_it_is_back() {
    let fleet = Fleet::new();
    let front = fleet.front("front").await;
    let anna = Visitor::new(&[front.url()], 0).await.at(&front);
    let _worker = fleet.worker("worker");
    let drawn = anna.draw(&small("a ring", 1)).await;
    let picture = anna.bytes(drawn["images"][0]["url"].as_str().unwrap()).await;
    let (store, away) = (fleet.store(), fleet.folder.path().join("away"));
    std::fs::rename(&store, &away).unwrap();
    std::fs::write(&store, "no folder").unwrap();
    let id = anna.submit(&small("a ring", 2)).await;
    let job = anna.ended(&id).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!("storage")), "{job}");
    let mut with_image = small("a ring", 3);
    with_image["image"] = json!(base64(&picture));
    let refused = anna.send(Method::POST, "/api/v1/jobs", Some(&with_image)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    std::fs::remove_file(&store).unwrap();
    std::fs::rename(&away, &store).unwrap();
    anna.draw(&with_image).await;
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_told_to_end_hands_its_job_on() {
    let fleet = Fleet::new();
    let front = fleet.front("front").await;
    let anna = Visitor::new(&[front.url()], 0).await.at(&front);
    let first = fleet.program("worker", &["worker", "--drain-seconds", "0"], None);
    let id = anna.submit(&slow(1)).await;
    anna.job_when(&id, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    assert!(first.end(), "it ends well");
    let waiting = anna.job_when(&id, |job| job["status"] == "queued").await;
    assert_eq!(waiting["attempts"], 0, "{waiting}");
    // One that has the time ends its job first.
    let second = fleet.worker("worker");
    anna.job_when(&id, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    assert!(second.end());
    let job = anna.ended(&id).await;
    assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(1)), "{job}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_of_one_name_are_told_apart() {
    let fleet = Fleet::new();
    let front = fleet.front("front").await;
    let anna = Visitor::new(&[front.url()], 0).await.at(&front);
    let (_first, _second) = (fleet.worker("twin"), fleet.program_in("other-folder", "twin", &["worker"]));
    let ids = [anna.submit(&long("a star", 1)).await, anna.submit(&long("a star", 2)).await];
    for id in &ids {
        anna.job_when(id, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    }
    let database = fleet.database().await;
    let running = "SELECT count(DISTINCT worker) FROM studio.jobs WHERE status = 'running' AND worker LIKE 'twin %'";
    assert_eq!(sqlx::query_scalar::<_, i64>(running).fetch_one(&database).await.unwrap(), 2);
    for id in &ids {
        anna.cancel(id).await;
        assert_eq!(anna.ended(id).await["status"], "cancelled");
    }
}

/// A worker stands still, as if its machine slept, and its job goes to another; then it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_counted_as_gone_changes_nothing_any_more() {
    let fleet = Fleet::new();
    let front = fleet.front("front").await;
    let anna = Visitor::new(&[front.url()], 0).await.at(&front);
    let sleeper = fleet.worker("sleeper");
    let id = anna.submit(&slow(1)).await;
    anna.job_when(&id, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    sleeper.signal("-STOP");
    let other = fleet.worker("other");
    anna.job_when(&id, |job| job["attempts"] == 2 && job["progress"]["step"].as_u64() >= Some(1)).await;
    // It stops, and that is no end of what the other one draws.
    sleeper.signal("-CONT");
    let job = anna.ended(&id).await;
    assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(2)), "{job}");
    let again = anna.submit(&slow(3)).await;
    other.kill();
    assert_eq!(anna.ended(&again).await["status"], "completed");
    // Once more, and the other one is done before it goes on.
    let id = anna.submit(&slow(4)).await;
    anna.job_when(&id, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    sleeper.signal("-STOP");
    let other = fleet.worker("another");
    let job = anna.ended(&id).await;
    other.kill();
    sleeper.signal("-CONT");
    // It notices, forgets the job, and draws the next one.
    let next = anna.draw(&small("a ring", 2)).await;
    assert_eq!(next["attempts"], 1);
    assert_eq!(anna.job(&id).await, job, "what was told stays so");
}

/// The library that shifts a program's clock: Debian's package `faketime`.
fn faketime() -> String {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    let library = folders.into_iter().find(|path| path.is_file()).expect("this test needs Debian's package faketime");
    library.display().to_string()
}

/// Clocks of machines are minutes away from each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_decide_nothing() {
    let fleet = Fleet::new();
    let front = fleet.front("front").await;
    let anna = Visitor::new(&[front.url()], 0).await.at(&front);
    let library = faketime();
    let shifted = |name: &str, by: &str| {
        let environment = [("LD_PRELOAD", &*library), ("FAKETIME", by), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        fleet.program_with(name, &["worker"], &environment)
    };
    for (name, by) in [("early", "-10m"), ("late", "+10m")] {
        let worker = shifted(name, by);
        let id = anna.submit(&slow(if name == "early" { 1 } else { 2 })).await;
        let job = anna.ended(&id).await;
        assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(1)), "{name}: {job}");
        let times = ["queued_at", "started_at", "finished_at"].map(|time| job[time].as_f64().unwrap());
        assert!(times.is_sorted() && times[2] - times[0] < 60.0, "{name}: {times:?}");
        worker.kill();
    }
}

/// Rolling upgrades: an older program does not start on tables of a newer one, and leaves jobs of a newer form alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_newer_is_left_alone() {
    const NEWER: &str = "INSERT INTO studio._sqlx_migrations (version, description, success, checksum, execution_time) \
        VALUES (9999, 'from the future', true, ''::bytea, 0)";
    let fleet = Fleet::new();
    let front = fleet.front("front").await;
    let anna = Visitor::new(&[front.url()], 0).await.at(&front);
    let newer = anna.submit(&small("a ring", 1)).await;
    let database = fleet.database().await;
    sqlx::query("UPDATE studio.jobs SET form = 2").execute(&database).await.unwrap();
    let worker = fleet.worker("worker");
    anna.draw(&small("a ring", 2)).await;
    assert_eq!(anna.job(&newer).await["status"], "queued");
    // What does not read in a form that is known holds nobody up.
    sqlx::query("UPDATE studio.jobs SET form = 1, drawing = '{}' WHERE form = 2").execute(&database).await.unwrap();
    anna.draw(&small("a ring", 3)).await;
    let error: String =
        sqlx::query_scalar("SELECT error FROM studio.jobs WHERE drawing = '{}'").fetch_one(&database).await.unwrap();
    assert!(error.contains("unreadable"), "{error}");
    drop(worker);
    sqlx::query(NEWER).execute(&database).await.unwrap();
    let mut older = fleet.worker("older");
    assert!(!older.wait().success());
    let told = older.log();
    assert!(told.contains("a newer one wrote it"), "{told}");
    // One that runs already goes on.
    assert_eq!(anna.send(Method::GET, "/health/ready", None).await.status(), StatusCode::OK);
    let count: i64 = sqlx::query("SELECT count(*) FROM studio.jobs").fetch_one(&database).await.unwrap().get(0);
    assert_eq!(count, 3);
}

/// Somebody cleans the queue by hand, or by another program of apalis's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_the_queue_has_lost_is_drawn_all_the_same() {
    let fleet = Fleet::new();
    let front = fleet.front("front").await;
    let anna = Visitor::new(&[front.url()], 0).await.at(&front);
    let ids = [anna.submit(&small("a ring", 1)).await, anna.submit(&small("a ring", 2)).await];
    let database = fleet.database().await;
    sqlx::query("DELETE FROM apalis.jobs WHERE id = $1").bind(&ids[0]).execute(&database).await.unwrap();
    sqlx::query("UPDATE apalis.jobs SET status = 'Killed' WHERE id = $1").bind(&ids[1]).execute(&database).await.unwrap();
    let _worker = fleet.worker("worker");
    for id in &ids {
        assert_eq!(anna.ended(id).await["status"], "completed");
    }
}

/// A password is in no log and no message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_there_is_named_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let port = crate::postgres::free_port();
    let database = format!("postgres://studio:s3cret-word@127.0.0.1:{port}/studio");
    let store = folder.path().join("store").display().to_string();
    let options = [("STUDIO_DATABASE", &*database), ("STUDIO_STORE", &*store)];
    let worker = Program::start(folder.path(), "worker", &["worker"], &options, None);
    worker.until_told("does not answer yet").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!worker.log().contains("s3cret-word"), "{}", worker.log());
}
