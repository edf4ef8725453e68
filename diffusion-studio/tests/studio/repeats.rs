//! What was done before is not done again.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Server, small};

#[tokio::test]
async fn a_repeat_is_answered_without_a_step() {
    let server = Server::start().await;
    let user = server.browser().await;
    let first = user.draw(&small("a blue disc", 5)).await;
    let (status, repeat) = user.ask(&small("a blue disc", 5)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!((&repeat["status"], &repeat["cached"], &repeat["attempts"]), (&json!("completed"), &json!(true), &json!(0)));
    assert_eq!(repeat["images"], first["images"]);
    assert_ne!(repeat["id"], first["id"]);

    // Every parameter that decides pixels counts.
    for (field, value) in
        [("seed", json!(6)), ("steps", json!(3)), ("prompt", json!("a blue ring")), ("guidance_scale", json!(2))]
    {
        let mut other = small("a blue disc", 5);
        other[field] = value;
        assert_eq!(user.draw(&other).await["cached"], false, "{field}");
    }
}

#[tokio::test]
async fn pictures_of_others_answer_only_where_the_operator_allows() {
    for shares in [false, true] {
        let server = Server::with(|config| config.shares_cache = shares).await;
        let (anna, ben) = (server.browser().await, server.browser().await);
        anna.draw(&small("a blue disc", 5)).await;
        assert_eq!(ben.draw(&small("a blue disc", 5)).await["cached"], shares);
    }
}

#[tokio::test]
async fn a_repeat_is_drawn_again_when_its_picture_is_gone() {
    let server = Server::start().await;
    let user = server.browser().await;
    let job = user.draw(&small("a blue disc", 5)).await;
    let response = user.send(Method::DELETE, &format!("/api/v1/history/{}", job["id"].as_str().unwrap()), None).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let url = job["images"][0]["url"].as_str().unwrap();
    assert_eq!(user.send(Method::GET, url, None).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(user.draw(&small("a blue disc", 5)).await["cached"], false);
}

#[tokio::test]
async fn a_picture_that_two_jobs_have_outlives_one_of_them() {
    let server = Server::start().await;
    let user = server.browser().await;
    let first = user.draw(&small("a blue disc", 5)).await;
    user.draw(&small("a blue disc", 5)).await;
    user.send(Method::DELETE, &format!("/api/v1/history/{}", first["id"].as_str().unwrap()), None).await;
    user.bytes(first["images"][0]["url"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_key_joins_the_job_that_was_asked_for_under_it() {
    let server = Server::start().await;
    let user = server.browser().await;
    let ask = |key: &'static str, request: Value| {
        let user = user.clone();
        async move {
            let request = user.request(Method::POST, "/api/v1/jobs").header("Idempotency-Key", key).json(&request);
            let response = request.send().await.unwrap();
            (response.status(), response.json::<Value>().await.unwrap())
        }
    };
    // Without a seed, so that nothing but the key tells that they are the same.
    let request = json!({ "prompt": "a blue disc", "steps": 2, "width": 64, "height": 64 });
    let (status, first) = ask("once", request.clone()).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let (status, again) = ask("once", request.clone()).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]));
    user.ended(first["id"].as_str().unwrap()).await;
    let (status, later) = ask("once", request.clone()).await;
    assert_eq!((status, &later["id"], &later["status"]), (StatusCode::OK, &first["id"], &json!("completed")));
    let (_, other) = ask("twice", request).await;
    assert_ne!(other["id"], first["id"]);
    let (status, refusal) = ask("once", small("a red ring", 1)).await;
    assert_eq!((status, &refusal["error"]["code"]), (StatusCode::CONFLICT, &json!("conflict")));
}

#[tokio::test]
async fn equal_requests_at_once_under_one_key_are_one_job() {
    let server = Server::start().await;
    let user = Arc::new(server.browser().await);
    let asks = (0..20).map(|_| {
        let user = user.clone();
        tokio::spawn(async move {
            let request = user.request(Method::POST, "/api/v1/jobs").header("Idempotency-Key", "k").json(&small("a disc", 1));
            request.send().await.unwrap().json::<Value>().await.unwrap()["id"].clone()
        })
    });
    let mut ids = Vec::new();
    for ask in asks.collect::<Vec<_>>() {
        ids.push(ask.await.unwrap());
    }
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
}
