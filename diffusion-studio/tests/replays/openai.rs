//! What the protocol of OpenAI promises besides.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::server::{DISTILLED, MODEL, Server, mask_of_alpha, picture, pixels_of, size_of_png, white_mask};

fn small(fields: Value) -> Value {
    let mut request = json!({ "prompt": "a red ring", "size": "64x48", "steps": 2, "seed": 7 });
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_all_that_clients_read() {
    let server = Server::start().await;
    let request = small(
        json!({ "n": 2, "quality": "high", "user": "me", "moderation": "auto", "style": "vivid", "negative_prompt": "blurry" }),
    );
    let answer = server.post("/v1/images/generations", &request).await.json(200);
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
    let seeds: Vec<&Value> = answer["data"].as_array().unwrap().iter().map(|datum| &datum["seed"]).collect();
    assert_eq!(seeds, [&json!(7), &json!(8)]);
    let common = ["size", "quality", "background", "output_format"].map(|key| answer[key].as_str().unwrap());
    assert_eq!(common, ["64x48", "high", "opaque", "png"]);
    // 4 x 3 patches of 16 pixels an image.
    let usage = &answer["usage"];
    let text = usage["input_tokens_details"]["text_tokens"].as_u64().unwrap();
    assert!((3..100).contains(&text), "{usage}");
    let expected = json!({
        "input_tokens": text, "input_tokens_details": { "text_tokens": text, "image_tokens": 0 }, "output_tokens": 24,
        "total_tokens": text + 24,
    });
    assert_eq!(usage, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_come_as_addresses_where_they_are_wanted() {
    let server = Server::start().await;
    let request = small(json!({ "response_format": "url", "output_format": "jpeg", "output_compression": 80 }));
    // The second time it comes from the cache.
    for _ in 0..2 {
        let answer = server.post_as("/v1/images/generations", &request, &[("host", "localhost:7860")]).await.json(200);
        let url = answer["data"][0]["url"].as_str().unwrap();
        assert_eq!(answer["data"][0].get("b64_json"), None);
        let path = url.strip_prefix("http://localhost:7860").unwrap();
        let picture = server.get(path).await;
        assert_eq!((picture.status.as_u16(), &picture.headers["content-type"]), (200, &"image/jpeg".parse().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_send_pictures_on_the_way_and_the_last_one() {
    let server = Server::start().await;
    let request = small(json!({ "stream": true, "partial_images": 2, "steps": 40 }));
    let events = server.post("/v1/images/generations", &request).await.events();
    let (kind, last) = events.last().unwrap();
    assert_eq!((kind.as_str(), &last["type"]), ("image_generation.completed", &json!("image_generation.completed")));
    assert_eq!(size_of_png(&last["b64_json"]), (64, 48));
    assert!(last["usage"]["total_tokens"].as_u64().unwrap() > 12 && last["created_at"].is_u64());
    for key in ["size", "quality", "background", "output_format"] {
        assert!(last[key].is_string(), "{key}");
    }
    let partial = &events[..events.len() - 1];
    assert!(partial.len() <= 2);
    for (index, (kind, data)) in partial.iter().enumerate() {
        assert_eq!((kind.as_str(), &data["partial_image_index"]), ("image_generation.partial_image", &json!(index)));
        assert_eq!(size_of_png(&data["b64_json"]), (64, 48));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_redraw_what_is_transparent() {
    let server = Server::start().await;
    let (start, mask) = (picture(64, 48), mask_of_alpha(64, 48));
    let form = |mask: &'static str| -> Vec<(&'static str, Option<&'static str>, Vec<u8>)> {
        let mut parts = vec![
            ("image", Some("a.png"), start.clone()),
            ("prompt", None, b"a ring".to_vec()),
            ("size", None, b"64x48".to_vec()),
            ("steps", None, b"4".to_vec()),
        ];
        match mask {
            "alpha" => parts.push(("mask", Some("m.png"), mask_of_alpha(64, 48))),
            "white" => parts.push(("mask", Some("m.png"), white_mask(64, 48))),
            "small" => parts.push(("mask", Some("m.png"), mask_of_alpha(32, 48))),
            _ => {}
        }
        parts
    };
    let send = async |parts: &[(&'static str, Option<&'static str>, Vec<u8>)]| {
        let parts: Vec<(&str, Option<&str>, &[u8])> =
            parts.iter().map(|(name, file, bytes)| (*name, *file, &bytes[..])).collect();
        server.post_form("/v1/images/edits", &parts).await
    };
    let answer = send(&form("alpha")).await.json(200);
    let (before, after) = (image::load_from_memory(&start).unwrap().into_rgb8(), pixels_of(&answer["data"][0]["b64_json"]));
    let same = |x: u32, y: u32| before.get_pixel(x, y) == after.get_pixel(x, y);
    assert!((32..64).all(|x| (0..48).all(|y| same(x, y))) && !(0..32).all(|x| same(x, 20)));
    assert_eq!(answer["usage"]["input_tokens_details"]["image_tokens"], 12);

    assert_eq!(send(&form("white")).await.json(400)["error"]["param"], "mask");
    assert_eq!(send(&form("small")).await.json(400)["error"]["param"], "mask");
    assert_eq!(send(&form("none")[1..]).await.json(400)["error"]["param"], "image");
    let two: Vec<_> = form("none")[..1].iter().cloned().chain(form("none")).collect();
    assert_eq!(send(&two).await.json(400)["error"]["param"], "image");
    let mut streamed = form("none");
    streamed.push(("stream", None, b"true".to_vec()));
    let parts: Vec<(&str, Option<&str>, &[u8])> = streamed.iter().map(|(name, file, bytes)| (*name, *file, &bytes[..])).collect();
    let events = server.post_form("/v1/images/edits", &parts).await.events();
    assert_eq!(events.last().unwrap().0, "image_edit.completed");
    let variation = server
        .post_form("/v1/images/variations", &[("image", Some("a.png"), &start), ("size", None, b"64x48"), ("steps", None, b"2")])
        .await;
    assert_eq!(size_of_png(&variation.json(200)["data"][0]["b64_json"]), (64, 48));
    assert!(!mask.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_form_of_the_protocol() {
    let server = Server::start().await;
    let cases = [
        (small(json!({ "size": "100x48" })), 400, "size", "invalid_value"),
        (small(json!({ "size": "huge" })), 400, "size", "invalid_value"),
        (small(json!({ "size": "16384x16384" })), 400, "size", "invalid_value"),
        (small(json!({ "n": 0 })), 400, "n", "invalid_value"),
        (small(json!({ "n": 1000 })), 400, "n", "invalid_value"),
        (small(json!({ "model": "gpt-5" })), 404, "model", "model_not_found"),
        (small(json!({ "background": "transparent" })), 400, "background", "invalid_value"),
        (small(json!({ "output_format": "gif" })), 400, "output_format", "invalid_value"),
        (small(json!({ "sampler": "Restart" })), 400, "sampler", "invalid_value"),
        (small(json!({ "loras": [{ "name": "inkk" }] })), 400, "loras[0].name", "invalid_value"),
        (small(json!({ "loras": [{ "name": "kohya", "scale": 1e9 }] })), 400, "loras[0].scale", "invalid_value"),
        (json!({ "size": "64x48" }), 400, "prompt", "invalid_value"),
    ];
    for (request, status, param, code) in cases {
        let error = &server.post("/v1/images/generations", &request).await.json(status)["error"];
        assert_eq!(
            (&error["param"], &error["code"], &error["type"]),
            (&json!(param), &json!(code), &json!("invalid_request_error"))
        );
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let near = server.post("/v1/images/generations", &small(json!({ "size": "100x48" }))).await.json(400);
    assert!(near["error"]["message"].as_str().unwrap().contains("96x48 and 112x48"), "{near}");
    let broken = Request::post("/v1/images/generations").body(Body::from("{")).unwrap();
    assert_eq!(server.send(broken).await.json(400)["error"]["type"], "invalid_request_error");
    assert_eq!(server.post("/v1/images/edits", &json!({})).await.json(400)["error"]["type"], "invalid_request_error");
    assert_eq!(server.post("/v1/chat/completions", &json!({})).await.json(404)["error"]["code"], "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_and_found() {
    let server = Server::start().await;
    let list = server.get("/v1/models").await.json(200);
    let model = |name: &str| json!({ "id": name, "object": "model", "created": 0, "owned_by": "local" });
    assert_eq!(list, json!({ "object": "list", "data": [model(MODEL), model(DISTILLED)] }));
    assert_eq!(server.get(&format!("/v1/models/{DISTILLED}")).await.json(200), model(DISTILLED));
    assert_eq!(server.get("/v1/models/dall-e-3").await.json(200), model("dall-e-3"));
    assert_eq!(server.get("/v1/models/gpt-5").await.json(404)["error"]["code"], "model_not_found");
}

/// For clients that can send nothing but a prompt.
#[tokio::test(flavor = "multi_thread")]
async fn settings_in_a_prompt_count() {
    let server = Server::start().await;
    let draw = async |request: Value| {
        let answer = server.post("/v1/images/generations", &request).await.json(200);
        (answer["data"][0]["seed"].clone(), pixels_of(&answer["data"][0]["b64_json"]))
    };
    let hidden =
        r#"a red ring<sd_cpp_extra_args>{"seed":9,"steps":3,"lora":[{"path":"kohya","multiplier":0.5}]}</sd_cpp_extra_args>"#;
    let plain =
        json!({ "prompt": "a red ring", "size": "64x48", "seed": 9, "steps": 3, "loras": [{ "name": "kohya", "scale": 0.5 }] });
    assert!(draw(json!({ "prompt": hidden, "size": "64x48" })).await == draw(plain).await);
}

/// The client asks again by itself after a while; under a key, it joins the job that runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_joins_the_same_job() {
    let server = Server::start().await;
    let request = json!({ "prompt": "a ring", "size": "64x48", "steps": 60 });
    let headers = [("idempotency-key", "k1")];
    let (first, second) = tokio::join!(
        server.post_as("/v1/images/generations", &request, &headers),
        server.post_as("/v1/images/generations", &request, &headers)
    );
    // Without a seed, two jobs would have two.
    assert_eq!(first.json(200)["data"][0]["seed"], second.json(200)["data"][0]["seed"]);
    let other = json!({ "prompt": "a star", "size": "64x48", "steps": 60 });
    let refused = server.post_as("/v1/images/generations", &other, &headers).await;
    assert_eq!(refused.headers["x-should-retry"], "false");
    assert_eq!(refused.json(409)["error"]["code"], "conflict");
}

/// Browsers close streams without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_closed_ends_its_job() {
    let server = Server::start().await;
    let request = json!({ "prompt": "a ring", "size": "224x224", "n": 16, "steps": 500, "stream": true, "partial_images": 1 });
    let body = Body::from(request.to_string());
    let response = server.open(Request::post("/v1/images/generations").body(body).unwrap()).await;
    let jobs = async || server.get("/sdapi/v1/progress").await.json(200)["state"]["job_count"].clone();
    assert_eq!(jobs().await, 16);
    drop(response);
    for _ in 0..600 {
        if jobs().await == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the job goes on");
}

/// The client waits as long as it is told to, if that is no more than two minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_when_to_ask_again() {
    let server = Server::start_with(|config| config.max_queue = 0).await;
    let answer = server.post("/v1/images/generations", &small(json!({}))).await;
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait > 0 && answer.headers.get("x-should-retry").is_none());
    let error = &answer.json(429)["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("queue_full")));
    let answer = server.post("/sdapi/v1/txt2img", &json!({ "prompt": "a ring", "width": 64, "height": 48 })).await;
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(answer.json(429)["error"], "queue_full");
}
