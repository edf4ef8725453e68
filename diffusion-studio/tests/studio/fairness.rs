//! Whose job comes next, and what is told of it.

use serde_json::json;

use crate::client::{Server, long, small};

#[tokio::test]
async fn one_job_comes_second_after_a_hundred_of_another_user() {
    let server = Server::start().await;
    let (anna, ben) = (server.browser().await, server.browser().await);
    let running = anna.submit(&long("a disc", 0)).await;
    anna.job_when(&running, |job| job["status"] == "running").await;
    let mut of_anna = Vec::new();
    for seed in 1..=100 {
        of_anna.push(anna.submit(&small("a disc", seed)).await);
    }
    let of_ben = ben.submit(&small("a ring", 1)).await;
    assert_eq!(ben.job(&of_ben).await["position"], 1);
    assert_eq!(anna.job(&of_anna[0]).await["position"], 2);
    assert_eq!(anna.job(&of_anna[99]).await["ahead"], 101);
    anna.cancel(&running).await;
    let ben_ended = ben.ended(&of_ben).await["finished_at"].as_f64().unwrap();
    let anna_started = anna.job_when(&of_anna[0], |job| job["started_at"].is_number()).await["started_at"].as_f64().unwrap();
    assert!(ben_ended <= anna_started);
    for id in of_anna {
        anna.cancel(&id).await;
    }
}

#[tokio::test]
async fn every_wait_has_a_position_and_an_estimate_once_its_kind_was_measured() {
    let server = Server::start().await;
    let user = server.browser().await;
    user.draw(&small("a disc", 0)).await;
    let mut other_kind = long("a ring", 0);
    other_kind["sampler"] = json!("heun");
    let blocker = user.submit(&other_kind).await;
    user.job_when(&blocker, |job| job["progress"]["step"].as_u64() >= Some(3)).await;
    let waiting = user.submit(&small("a disc", 1)).await;
    let job = user.job(&waiting).await;
    assert_eq!((&job["position"], &job["ahead"]), (&json!(1), &json!(1)));
    assert!(job["wait_seconds"].is_null(), "nobody has measured the job that runs: {job}");
    user.cancel(&blocker).await;
    user.ended(&waiting).await;

    // The kind of a job counts, and not what others took in the mean.
    let first = user.submit(&long("a disc", 2)).await;
    user.job_when(&first, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    let plan = user.send(reqwest::Method::POST, "/api/v1/plan", Some(&small("a disc", 3))).await;
    let short = plan.json::<serde_json::Value>().await.unwrap()["eta_seconds"].as_f64().unwrap();
    let plan = user.send(reqwest::Method::POST, "/api/v1/plan", Some(&long("a disc", 3))).await;
    assert!(plan.json::<serde_json::Value>().await.unwrap()["eta_seconds"].is_null());
    assert!(short > 0.0 && short < 60.0, "{short}");
    user.cancel(&first).await;
}
