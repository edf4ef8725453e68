//! Whose job comes next, and what those are told who wait.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sqlx::Row;

use crate::client::{long, small};
use crate::programs::{Fleet, Visitor};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_take_turns_across_front_ends_and_positions_say_so() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.front("first").await, fleet.front("second").await);
    let urls = [first.url(), second.url()];
    let (anna, ben) = (Visitor::new(&urls, 0).await, Visitor::new(&urls, 1).await);
    // Nobody draws yet.
    let mut of_anna = Vec::new();
    for seed in 0..10 {
        of_anna.push(anna.at(&first).submit(&small("a ring", seed)).await);
    }
    let of_ben = ben.at(&second).submit(&small("a disc", 1)).await;
    let place = |job: &serde_json::Value| job["ahead"].as_u64();
    for front in [&first, &second] {
        // The other front end hears of it, too: one job of the other user comes first.
        ben.at(front).job_when(&of_ben, |job| place(job) == Some(1)).await;
        anna.at(front).job_when(&of_anna[9], |job| place(job) == Some(10)).await;
    }
    let worker = fleet.worker("worker");
    let done = ben.at(&first).ended(&of_ben).await;
    let mut before = 0;
    for id in &of_anna {
        let job = anna.at(&second).ended(id).await;
        before += usize::from(job["started_at"].as_f64() < done["started_at"].as_f64());
    }
    assert!(before <= 1, "{before} jobs of the other user came first");
    // Now the kind of work is measured, and every wait has an estimate at every front end.
    let blocker = anna.at(&first).submit(&long("a ring", 99)).await;
    anna.at(&first).job_when(&blocker, |job| job["progress"]["step"].as_u64() >= Some(2)).await;
    let waiting = ben.at(&second).submit(&small("a disc", 2)).await;
    ben.at(&first).job_when(&waiting, |job| job["ahead"] == 1).await;
    anna.at(&first).cancel(&blocker).await;
    ben.at(&second).ended(&waiting).await;
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_takes_no_more_than_it_may_at_all_front_ends_together() {
    let fleet = Fleet::new();
    let options: &[&str] = &["--no-worker", "--max-queue", "3"];
    let mut fronts = Vec::new();
    for name in ["first", "second"] {
        let port = crate::postgres::free_port();
        let port_text = port.to_string();
        let arguments = [options, &["--port", &port_text]].concat();
        let front = fleet.program(name, &arguments, Some(port));
        front.until_live().await;
        fronts.push(front);
    }
    let urls: Vec<String> = fronts.iter().map(crate::programs::Program::url).collect();
    let anna = Visitor::new(&urls, 0).await;
    for seed in 0..3 {
        anna.at(&fronts[seed % 2]).submit(&small("a ring", seed as u64)).await;
    }
    for front in &fronts {
        let user = anna.at(front);
        let refused = user.send(Method::POST, "/api/v1/jobs", Some(&small("a ring", 9))).await;
        assert_eq!(refused.status(), 429);
        assert!(refused.headers().contains_key("retry-after"));
    }
}

/// A key stands for one job, wherever it is asked for, also at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stands_for_one_job_at_all_front_ends() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.front("first").await, fleet.front("second").await);
    let urls = [first.url(), second.url()];
    let anna = Visitor::new(&urls, 0).await;
    let mut asking = Vec::new();
    for _ in 0..12 {
        let mut visitor = anna.clone();
        let request = small("a ring", 5);
        asking.push(tokio::spawn(async move { visitor.submit("the same", &request).await }));
    }
    let mut ids = std::collections::BTreeSet::new();
    for asked in asking {
        ids.insert(asked.await.unwrap());
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    let other = anna.at(&second).request(Method::POST, "/api/v1/jobs").header("Idempotency-Key", "the same");
    assert_eq!(other.json(&json!({ "prompt": "another" })).send().await.unwrap().status(), 409);
}

/// What a worker has loaded comes first, and what others have asked for does not starve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_with_the_loras_that_are_applied_come_first() {
    let fleet = Fleet::new();
    let loras = fleet.folder.path().join("loras");
    crate::client::write_lora(&loras.join("ink.safetensors"), 0.01);
    let shared = loras.display().to_string();
    let port = crate::postgres::free_port();
    let port_text = port.to_string();
    let front = fleet.program("front", &["--no-worker", "--port", &port_text, "--lora-dir", &shared], Some(port));
    front.until_live().await;
    let worker = fleet.program("worker", &["worker", "--lora-dir", &shared], None);
    let urls = [front.url()];
    let with = |seed: u64| {
        let mut request = small("a ring", seed);
        request["loras"] = json!([{ "name": "ink", "weight": 1.0 }]);
        request
    };
    let (anna, ben) = (Visitor::new(&urls, 0).await.at(&front), Visitor::new(&urls, 0).await.at(&front));
    anna.draw(&with(0)).await;
    // While the worker draws, one job of each user comes in; the one that needs other LoRAs comes first.
    let mut blocker = long("a ring", 1);
    blocker["loras"] = json!([{ "name": "ink", "weight": 1.0 }]);
    let blocker = anna.submit(&blocker).await;
    anna.job_when(&blocker, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    let plain = ben.submit(&small("a disc", 2)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let carl = Visitor::new(&urls, 0).await.at(&front);
    let ready = carl.submit(&with(3)).await;
    anna.cancel(&blocker).await;
    let (plain, ready) = (ben.ended(&plain).await, carl.ended(&ready).await);
    assert!(ready["started_at"].as_f64() < plain["started_at"].as_f64(), "{ready} {plain}");
    assert_eq!((&plain["status"], &ready["status"]), (&json!("completed"), &json!("completed")));
    let database = fleet.database().await;
    let loaded: String =
        sqlx::query("SELECT state FROM studio.processes WHERE kind = 'worker'").fetch_one(&database).await.unwrap().get(0);
    assert!(loaded.contains("mini-sd3"), "{loaded}");
    drop(worker);
}
