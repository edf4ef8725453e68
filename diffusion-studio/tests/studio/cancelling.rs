//! Jobs that are taken back.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Server, long, small};

#[tokio::test]
async fn a_running_job_ends_within_a_step_and_a_waiting_one_at_once() {
    let server = Server::start().await;
    let user = server.browser().await;
    let (running, waiting, last) =
        (user.submit(&long("a disc", 1)).await, user.submit(&long("a ring", 2)).await, user.submit(&small("a star", 3)).await);
    user.job_when(&running, |job| job["progress"]["step"].as_u64() >= Some(2)).await;
    assert_eq!(user.cancel(&waiting).await["status"], "cancelled");
    let asked = Instant::now();
    user.cancel(&running).await;
    let job = user.ended(&running).await;
    assert_eq!(job["status"], "cancelled");
    // A step takes some hundredths of a second here, and machines that are busy some more.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(user.ended(&last).await["status"], "completed");
    assert_eq!(user.cancel(&running).await["status"], "cancelled");
    assert_eq!(user.cancel(&last).await["status"], "completed");
}

#[tokio::test]
async fn cancelling_leaves_the_pictures_of_others_whole() {
    let server = Server::start().await;
    let (anna, ben) = (server.browser().await, server.browser().await);
    let of_ben = ben.submit(&json!({ "prompt": "a disc", "seed": 1, "steps": 20, "width": 64, "height": 64 })).await;
    let of_anna = anna.submit(&long("a ring", 2)).await;
    let response = anna.send(Method::DELETE, &format!("/api/v1/jobs/{of_ben}"), None).await;
    assert_eq!(response.status(), 404);
    anna.cancel(&of_anna).await;
    assert_eq!(ben.ended(&of_ben).await["status"], "completed");
}

#[tokio::test]
async fn a_stream_that_is_left_does_not_end_its_job() {
    let server = Server::start().await;
    let user = server.browser().await;
    let id = user.submit(&json!({ "prompt": "a disc", "seed": 1, "steps": 20, "width": 64, "height": 64 })).await;
    let stream = user.request(Method::GET, &format!("/api/v1/jobs/{id}/events")).send().await.unwrap();
    drop(stream);
    assert_eq!(user.ended(&id).await["status"], "completed");
}

#[tokio::test]
async fn positions_count_down_and_the_end_is_told_to_all_who_watch() {
    let server = Server::start().await;
    let user = server.browser().await;
    let mut ids = Vec::new();
    for seed in 0..3 {
        ids.push(user.submit(&json!({ "prompt": "a disc", "seed": seed, "steps": 30, "width": 64, "height": 64 })).await);
    }
    let jobs = [user.job(&ids[0]).await, user.job(&ids[1]).await, user.job(&ids[2]).await];
    let ahead: Vec<Option<u64>> = jobs.iter().map(|job| job["ahead"].as_u64()).collect();
    assert!(ahead.is_sorted(), "{ahead:?}");
    let watch = ids.iter().map(|id| {
        let (user, path) = (user.clone(), format!("/api/v1/jobs/{id}/events"));
        tokio::spawn(async move { user.request(Method::GET, &path).send().await.unwrap().text().await.unwrap() })
    });
    for watched in watch.collect::<Vec<_>>() {
        let events = crate::drawing::events(&watched.await.unwrap());
        let positions: Vec<u64> = events.iter().filter_map(|(_, data)| data["position"].as_u64()).collect();
        assert!(positions.is_sorted_by(|a, b| a >= b), "{positions:?}");
        assert_eq!(events.last().map(|(name, _)| name.as_str()), Some("completed"));
        assert_eq!(events.last().unwrap().1["position"], Value::Null);
    }
}

/// The client of OpenAI asks three times when a picture takes longer than it waits.
#[tokio::test]
async fn a_client_that_gives_up_and_asks_again_has_one_job() {
    let server = Server::start().await;
    let user = server.program();
    let request = json!({ "prompt": "a disc", "size": "256x256", "seed": 1, "steps": 400 });
    for _ in 0..3 {
        let post = user.request(Method::POST, "/v1/images/generations").json(&request).timeout(Duration::from_millis(400));
        assert!(post.send().await.unwrap_err().is_timeout());
    }
    let free = async {
        loop {
            let queue = user.get("/api/v1/queue").await;
            assert!(queue["waiting"].as_u64().unwrap() <= 1, "{queue}");
            if queue["running"] == json!([]) && queue["waiting"] == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::client::PATIENCE, free).await.expect("a job goes on without its client");
}

#[tokio::test]
async fn a_client_that_asks_again_under_its_key_finds_its_job() {
    let server = Server::start().await;
    let user = server.program();
    let request = json!({ "prompt": "a disc", "size": "128x128", "seed": 1, "steps": 300 });
    let post = || user.request(Method::POST, "/v1/images/generations").header("Idempotency-Key", "k").json(&request);
    assert!(post().timeout(Duration::from_millis(100)).send().await.unwrap_err().is_timeout());
    let answer = post().send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.json::<Value>().await.unwrap()["data"][0]["b64_json"].is_string());
    let history = user.get("/api/v1/history").await;
    assert_eq!((history["jobs"].as_array().unwrap().len(), &history["jobs"][0]["attempts"]), (1, &json!(1)));
}

/// A hundred tabs that do not read what they asked for.
#[tokio::test]
async fn slow_readers_hold_up_nobody() {
    let server = Server::start().await;
    let user = server.browser().await;
    let id = user.submit(&json!({ "prompt": "a disc", "seed": 1, "steps": 100, "width": 128, "height": 128 })).await;
    let mut unread = Vec::new();
    for _ in 0..100 {
        let stream = user.request(Method::GET, &format!("/api/v1/jobs/{id}/events")).send().await.unwrap();
        assert_eq!(stream.status(), 200);
        unread.push(stream);
    }
    assert_eq!(user.ended(&id).await["status"], "completed");
    // What they read in the end is the end.
    let text = unread.pop().unwrap().text().await.unwrap();
    assert_eq!(crate::drawing::events(&text).last().map(|(name, _)| name.as_str()), Some("completed"));
}
