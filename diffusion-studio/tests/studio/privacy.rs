//! What others ask for is nobody's business.

use reqwest::{Method, StatusCode};

use crate::client::{Server, long, small};

#[tokio::test]
async fn the_queue_hides_what_others_ask_for() {
    let server = Server::start().await;
    let (anna, ben) = (server.browser().await, server.browser().await);
    let secret = "a secret wish of anna's";
    let running = anna.submit(&long(secret, 1)).await;
    let waiting = anna.submit(&small(secret, 2)).await;
    anna.job_when(&running, |job| job["status"] == "running").await;
    let seen = ben.get("/api/v1/queue").await;
    assert!(!seen.to_string().contains("secret") && !seen.to_string().contains(&running), "{seen}");
    assert_eq!((seen["waiting"].as_u64(), seen["running"][0]["mine"].as_bool()), (Some(1), Some(false)));
    let own = anna.get("/api/v1/queue").await;
    assert_eq!(own["mine"].as_array().unwrap().len(), 2);
    assert_eq!(own["running"][0]["id"], running.as_str());
    for (method, path) in [
        (Method::GET, format!("/api/v1/jobs/{running}")),
        (Method::GET, format!("/api/v1/jobs/{running}/events")),
        (Method::GET, format!("/api/v1/jobs/{running}/preview")),
        (Method::DELETE, format!("/api/v1/jobs/{waiting}")),
        (Method::DELETE, format!("/api/v1/history/{waiting}")),
    ] {
        assert_eq!(ben.send(method, &path, None).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    anna.cancel(&running).await;
    anna.ended(&waiting).await;
    assert!(ben.get("/api/v1/history").await["jobs"].as_array().unwrap().is_empty());
    assert_eq!(anna.get("/api/v1/history").await["jobs"].as_array().unwrap().len(), 1);
}
