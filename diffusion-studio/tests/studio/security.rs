//! Who may ask.

use diffusion_studio::Keys;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Server, small};

async fn with_keys() -> Server {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "anna:anna-and-her-key\nben:ben-and-his-key\n").unwrap();
    let keys = Keys::read(file.path()).unwrap();
    Server::with(move |config| config.keys = keys).await
}

#[tokio::test]
async fn without_a_key_nothing_is_told_but_health() {
    let server = with_keys().await;
    let user = server.program();
    for path in ["/", "/api/v1/models", "/api/v1/queue", "/metrics", "/openapi.json", "/assets/index.html"] {
        let response = user.send(Method::GET, path, None).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    }
    assert_eq!(user.ask(&small("a", 1)).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(user.send(Method::GET, "/health/ready", None).await.status(), StatusCode::OK);
    let wrong = user.request(Method::GET, "/api/v1/models").bearer_auth("anna-and-her-kex").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_opens_the_door_to_ones_own_jobs() {
    let server = with_keys().await;
    let user = server.program();
    let ask = |key: &'static str| user.request(Method::POST, "/api/v1/jobs").bearer_auth(key).json(&small("a disc", 1)).send();
    let job: Value = ask("anna-and-her-key").await.unwrap().json().await.unwrap();
    let path = job["links"]["self"].as_str().unwrap();
    let see = |key: &'static str| user.request(Method::GET, path).basic_auth("anybody", Some(key)).send();
    assert_eq!(see("anna-and-her-key").await.unwrap().status(), StatusCode::OK);
    assert_eq!(see("ben-and-his-key").await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let server = Server::with(|config| config.allowed_origins = vec!["https://studio.example".to_owned()]).await;
    let user = server.program();
    let post =
        |origin: &'static str| user.request(Method::POST, "/api/v1/jobs").header("origin", origin).json(&small("a", 1)).send();
    assert_eq!(post("https://evil.example").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(post("null").await.unwrap().status(), StatusCode::FORBIDDEN);
    let allowed = post("https://studio.example").await.unwrap();
    assert_eq!(allowed.status(), StatusCode::ACCEPTED);
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://studio.example");
    let refused = user.request(Method::GET, "/api/v1/models").header("origin", "https://evil.example").send().await.unwrap();
    assert!(!refused.headers().contains_key("access-control-allow-origin"));
    let other_name = user.request(Method::GET, "/").header("host", "evil.example").send().await.unwrap();
    assert_eq!(other_name.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_session_is_signed_and_out_of_reach_of_scripts() {
    let server = Server::start().await;
    let response = server.program().send(Method::GET, "/", None).await;
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"), "{cookie}");
    let user = server.browser().await;
    user.draw(&small("a disc", 1)).await;
    // Somebody who makes up a session is nobody.
    let value = cookie.split_once('=').unwrap().1.split_once(';').unwrap().0;
    let forged = format!("studio_session={}x", &value[..value.len() - 1]);
    let seen = server.program().request(Method::GET, "/api/v1/queue").header("cookie", forged).send().await.unwrap();
    assert_eq!(seen.json::<Value>().await.unwrap()["mine"], json!([]));
}

#[tokio::test]
async fn too_many_jobs_in_a_minute_are_refused() {
    let server = Server::with(|config| config.jobs_per_minute = Some(3)).await;
    let user = server.program();
    for seed in 0..3 {
        assert_eq!(user.ask(&small("a disc", seed)).await.0, StatusCode::ACCEPTED);
    }
    let response = user.send(Method::POST, "/api/v1/jobs", Some(&small("a disc", 3))).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "rate_limited");
}

#[tokio::test]
async fn browsers_are_told_to_run_nothing_that_is_not_the_pages_own() {
    let server = Server::start().await;
    let response = server.program().send(Method::GET, "/", None).await;
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn each_protocol_refuses_in_its_own_words() {
    let server = with_keys().await;
    let user = server.program();
    let refused = |path: &'static str| {
        let user = user.clone();
        async move {
            let response = user.send(Method::GET, path, None).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
            response.json::<Value>().await.unwrap()
        }
    };
    let openai = refused("/v1/models").await;
    assert!(openai["error"]["message"].is_string() && openai["error"]["type"].is_string(), "{openai}");
    let a1111 = refused("/sdapi/v1/options").await;
    assert!(a1111["detail"].is_string() && a1111["error"].is_string(), "{a1111}");
}
