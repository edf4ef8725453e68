//! What is told of a job across processes.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{PATIENCE, User, long, pixels, small};
use crate::programs::{Fleet, Visitor};

/// The events of a job until one of this name, each with what it tells.
async fn events(user: &User, id: &str, until: &str) -> Vec<(String, Value)> {
    let response = user.send(Method::GET, &format!("/api/v1/jobs/{id}/events"), None).await;
    assert_eq!(response.status(), 200);
    let (mut body, mut text, mut events) = (response.bytes_stream(), String::new(), Vec::new());
    let read = async {
        while let Some(Ok(bytes)) = body.next().await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
            while let Some((event, rest)) = text.split_once("\n\n") {
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let (Some(name), Some(data)) = (line("event: "), line("data: ")) {
                    events.push((name.clone(), serde_json::from_str(&data).unwrap()));
                    if name == until {
                        return;
                    }
                }
                let rest = text.len() - rest.len();
                text.drain(..rest);
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the event does not come");
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_previews_and_cancelling_cross_front_ends() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.front("first").await, fleet.front("second").await);
    let _worker = fleet.worker("worker");
    let urls = [first.url(), second.url()];
    let anna = Visitor::new(&urls, 0).await;
    let id = anna.at(&first).submit(&long("a star", 1)).await;
    // Watched at the other front end: a preview is made as soon as that is known.
    let told = events(&anna.at(&second), &id, "preview").await;
    assert_eq!(told[0].0, "snapshot");
    assert!(told.iter().any(|(name, progress)| name == "progress" && progress["stage"] == "sample"), "{told:?}");
    let preview = &told.last().unwrap().1;
    assert!(preview["step"].as_u64() > Some(0) && preview["b64"].as_str().unwrap().len() > 100, "{preview}");
    let shown = anna.at(&second).bytes(&format!("/api/v1/jobs/{id}/preview")).await;
    assert_eq!(pixels(&shown).dimensions(), (32, 32));

    let began = Instant::now();
    anna.at(&second).cancel(&id).await;
    let ended = anna.at(&first).ended(&id).await;
    assert_eq!(ended["status"], "cancelled");
    // A step takes hundredths of a second; machines are shared.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let left = std::fs::read_dir(fleet.store().join("previews")).unwrap().count();
    assert_eq!(left, 0, "the preview is removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_a_front_end_that_was_killed_goes_on_at_another() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.front("first").await, fleet.front("second").await);
    let _worker = fleet.worker("worker");
    let urls = [first.url(), second.url()];
    let anna = Visitor::new(&urls, 0).await;
    let id = anna.at(&first).submit(&long("a star", 1)).await;
    anna.at(&first).job_when(&id, |job| job["progress"]["step"].as_u64() >= Some(2)).await;
    first.kill();
    let told = events(&anna.at(&second), &id, "progress").await;
    let (name, snapshot) = &told[0];
    assert_eq!((name.as_str(), &snapshot["status"], &snapshot["id"]), ("snapshot", &json!("running"), &json!(id)));
    anna.at(&second).cancel(&id).await;
    assert_eq!(anna.at(&second).ended(&id).await["status"], "cancelled");
}

/// Who waits for the answer is gone with the front end, and nobody wants the picture.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_somebody_waited_for_ends_with_its_front_end() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.front("first").await, fleet.front("second").await);
    let _worker = fleet.worker("worker");
    let program = User { client: reqwest::Client::new(), url: first.url() };
    let waiting = tokio::spawn(async move {
        let body = json!({ "prompt": "a star", "steps": 400, "width": 256, "height": 256 });
        program.request(Method::POST, "/sdapi/v1/txt2img").json(&body).send().await.is_err()
    });
    let other = User { client: reqwest::Client::new(), url: second.url() };
    let running = || async { other.get("/api/v1/queue").await["running"].as_array().unwrap().len() };
    let until = async |number: usize| {
        let began = Instant::now();
        while running().await != number {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(1).await;
    first.kill();
    assert!(waiting.await.unwrap(), "the connection breaks");
    until(0).await;
    let database = fleet.database().await;
    let status: String = sqlx::query_scalar("SELECT status FROM studio.jobs").fetch_one(&database).await.unwrap();
    assert_eq!(status, "cancelled");
}

/// The protocols of other programs, through a front end that draws nothing itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_programs_and_sent_pictures_work_through_front_ends() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.front("first").await, fleet.front("second").await);
    let _worker = fleet.worker("worker");
    let user = |front: &crate::programs::Program| User { client: reqwest::Client::new(), url: front.url() };
    let body = json!({ "prompt": "a star", "steps": 2, "width": 64, "height": 64, "seed": 7 });
    let drawn: Value = user(&first).send(Method::POST, "/sdapi/v1/txt2img", Some(&body)).await.json().await.unwrap();
    let image = drawn["images"][0].as_str().unwrap().to_owned();
    let body = json!({ "prompt": "a star", "size": "64x64", "response_format": "b64_json" });
    let drawn: Value = user(&second).send(Method::POST, "/v1/images/generations", Some(&body)).await.json().await.unwrap();
    assert!(drawn["data"][0]["b64_json"].as_str().is_some_and(|image| image.len() > 100), "{drawn}");
    // A picture that one front end was sent is drawn from elsewhere, and known at the other one.
    let urls = [first.url(), second.url()];
    let anna = Visitor::new(&urls, 0).await;
    let mut request = small("a star", 3);
    (request["image"], request["strength"]) = (json!(image), json!(0.5));
    let id = anna.at(&first).submit(&request).await;
    let job = anna.at(&second).ended(&id).await;
    assert_eq!((&job["status"], &job["kind"]), (&json!("completed"), &json!("img2img")), "{job}");
    let sent = job["request"]["image"].as_str().unwrap();
    assert!(anna.at(&second).bytes(sent).await.starts_with(b"\x89PNG"));
    // The same again is answered without a step.
    let again = anna.at(&second).draw(&request).await;
    assert_eq!((&again["cached"], &again["images"][0]["url"]), (&json!(true), &job["images"][0]["url"]));
    // What one removes is gone for both.
    for id in [job["id"].as_str().unwrap(), again["id"].as_str().unwrap()] {
        let removed = anna.at(&first).send(Method::DELETE, &format!("/api/v1/history/{id}"), None).await;
        assert_eq!(removed.status(), 204);
    }
    assert_eq!(anna.at(&second).get("/api/v1/history").await["jobs"], json!([]));
}
