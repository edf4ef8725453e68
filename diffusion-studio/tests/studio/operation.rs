//! What operators ask a server.

use reqwest::{Method, StatusCode};

use crate::client::{Server, long, small};

#[tokio::test]
async fn health_and_metrics_tell_how_a_server_is() {
    let server = Server::start().await;
    let user = server.program();
    assert_eq!(user.get("/health/live").await["status"], "live");
    assert_eq!(user.get("/health/ready").await["status"], "ready");
    let before = user.metric("studio_jobs{status=\"completed\"}").await;
    user.draw(&small("a disc", 1)).await;
    assert!(user.metric("studio_jobs{status=\"completed\"}").await >= before + 1.0);
    assert!(user.metric("studio_step_seconds_count{model=\"mini-sd3\"}").await >= 2.0);
    assert!(user.metric("studio_weights_bytes").await > 1e6);
}

#[tokio::test]
async fn every_answer_has_the_request_id_that_was_given_or_one_of_its_own() {
    let server = Server::start().await;
    let user = server.program();
    let given = user.request(Method::GET, "/api/v1/queue").header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(given.headers()["x-request-id"], "mine-1");
    let made = user.send(Method::GET, "/nothing", None).await;
    assert!(!made.headers()["x-request-id"].is_empty());
}

#[tokio::test]
async fn a_server_that_ends_lets_the_running_job_end_and_keeps_those_that_wait() {
    let server = Server::start().await;
    let user = server.browser().await;
    let running =
        user.submit(&serde_json::json!({ "prompt": "a disc", "seed": 1, "steps": 60, "width": 128, "height": 128 })).await;
    user.job_when(&running, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    let waiting = user.submit(&small("a ring", 2)).await;
    let path = format!("/api/v1/jobs/{waiting}/events");
    let watching = tokio::spawn({
        let (user, path) = (user.clone(), path.clone());
        async move { user.request(Method::GET, &path).send().await.unwrap().text().await }
    });
    let client = user.client.clone();
    let data = server.end().await;
    // Whoever watched is let go.
    let _ = watching.await.unwrap();
    let server = Server::on(data, |_| {}).await;
    let user = crate::client::User { client, url: server.url.clone() };
    let job = user.ended(&running).await;
    assert_eq!((job["status"].as_str(), job["attempts"].as_u64()), (Some("completed"), Some(1)));
    assert_eq!(user.ended(&waiting).await["status"], "completed");
}

#[tokio::test]
async fn a_job_that_takes_too_long_to_end_is_handed_back_without_counting() {
    let server = Server::with(|config| config.drain = std::time::Duration::from_millis(50)).await;
    let user = server.browser().await;
    let id = user.submit(&long("a disc", 1)).await;
    user.job_when(&id, |job| job["progress"]["step"].as_u64() >= Some(1)).await;
    let client = user.client.clone();
    let data = server.end().await;
    let server = Server::on(data, |_| {}).await;
    let user = crate::client::User { client, url: server.url.clone() };
    let job = user.job_when(&id, |job| job["status"] == "running").await;
    assert_eq!(job["attempts"], 1);
    user.cancel(&id).await;
    assert_eq!(user.ended(&id).await["status"], "cancelled");
}

#[tokio::test]
async fn two_servers_do_not_share_a_folder() {
    let server = Server::start().await;
    let models = vec![diffusion_studio::registry::ModelSource::miniature().unwrap()];
    let config = diffusion_studio::StudioConfig::new(server.data.path().to_owned(), models);
    let error = diffusion_studio::Studio::start(config).await.unwrap_err();
    assert!(error.to_string().contains("another studio uses the folder"), "{error}");
    assert_eq!(server.program().send(Method::GET, "/health/live", None).await.status(), StatusCode::OK);
}
