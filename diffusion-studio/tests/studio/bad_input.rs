//! What cannot be drawn is refused with a sentence that names the field.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Server, small};
use crate::drawing::base64;

fn png(width: u32, height: u32) -> String {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(width, height).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    base64(bytes.get_ref())
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let server = Server::start().await;
    let user = server.browser().await;
    let long_prompt = "a".repeat(32_001);
    let wrong: Vec<(&str, Value, u16)> = vec![
        ("model", json!("sd9"), 404),
        ("model", json!(3), 422),
        ("model", json!("../../etc/passwd"), 404),
        ("prompt", json!(long_prompt), 422),
        ("prompt", json!("a\u{0}b"), 422),
        ("prompt", json!(["a"]), 422),
        ("width", json!(65), 422),
        ("width", json!(0), 422),
        ("width", json!(-64), 422),
        ("width", json!("64"), 422),
        ("width", json!(1u64 << 60), 422),
        ("height", json!(1_000_000_000), 422),
        ("steps", json!(0), 422),
        ("steps", json!(501), 422),
        ("steps", json!(2.5), 422),
        ("guidance_scale", json!(1e9), 422),
        ("guidance_scale", json!("much"), 422),
        ("true_cfg_scale", json!(3), 422),
        ("sampler", json!("restart"), 422),
        ("schedule", json!("cubic"), 422),
        ("shift", json!("static"), 422),
        ("shift_terminal", json!("low"), 422),
        ("sigmas", json!([0.5, 1.0]), 422),
        ("seed", json!(-1), 422),
        ("seed", json!(1.5), 422),
        ("count", json!(0), 422),
        ("count", json!(17), 422),
        ("strength", json!("strong"), 422),
        ("image", json!("no base64!"), 422),
        ("image", json!("aGVsbG8="), 422),
        ("image", json!("/api/v1/inputs/../../secret"), 422),
        ("image", json!("/etc/passwd"), 422),
        ("mask", json!(png(64, 64)), 422),
        ("kind", json!("inpaint"), 422),
        ("kind", json!("video"), 422),
        ("max_sequence_length", json!(0), 422),
        ("output_format", json!("gif"), 422),
        ("quality", json!(0), 422),
        ("seeed", json!(1), 422),
    ];
    for (field, value, status) in wrong {
        let mut request = small("a disc", 1);
        request[field] = value.clone();
        let (found, refusal) = user.ask(&request).await;
        assert_eq!(found.as_u16(), status, "{field}: {refusal}");
        assert_eq!(refusal["error"]["field"], field, "{refusal}");
        assert!(refusal["error"]["message"].as_str().unwrap().len() > 10, "{refusal}");
    }
    let nested = [
        ("loras", json!([{ "name": "nothing" }]), "loras[0].name"),
        ("loras", json!([{ "label": "nothing" }]), "loras[0].label"),
        ("guidance", json!({ "method": "best" }), "guidance.method"),
        ("guidance", json!({ "rescale": 2 }), "guidance.rescale"),
        ("guidance", json!({ "interval": [0.9, 0.1] }), "guidance.interval"),
        ("guidance", json!({ "method": "zero-star", "zero_steps": 9 }), "guidance.zero_steps"),
        ("guidance", json!({ "method": "apg", "eta": 99 }), "guidance.eta"),
        ("guidance", json!({ "method": "apg", "norm_threshold": -1 }), "guidance.norm_threshold"),
        ("guidance", json!({ "method": "apg", "momentum": 3 }), "guidance.momentum"),
        ("skip_layers", json!({ "layers": [99] }), "skip_layers.layers"),
        ("skip_layers", json!({ "layers": [1], "scale": -1 }), "skip_layers.scale"),
        ("skip_layers", json!({ "layers": [1], "start": 2 }), "skip_layers.start"),
        ("skip_layers", json!({ "layers": [1], "stop": 2 }), "skip_layers.stop"),
        ("step_cache", json!({ "method": "all" }), "step_cache.method"),
        ("step_cache", json!({ "method": "easy", "threshold": -1 }), "step_cache.threshold"),
        ("shift", json!(-3), "shift"),
        ("shift_terminal", json!(1.5), "shift_terminal"),
    ];
    for (field, value, named) in nested {
        let mut request = small("a disc", 1);
        request[field] = value;
        let (status, refusal) = user.ask(&request).await;
        assert_eq!((status.as_u16(), &refusal["error"]["field"]), (422, &json!(named)), "{refusal}");
    }
    assert!(user.get("/api/v1/history").await["jobs"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_mask_of_another_size_is_refused() {
    let server = Server::start().await;
    let user = server.browser().await;
    let mut request = small("a disc", 1);
    (request["image"], request["mask"]) = (json!(png(64, 64)), json!(png(32, 64)));
    let (status, refusal) = user.ask(&request).await;
    assert_eq!((status, &refusal["error"]["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("mask")));
    assert!(refusal["error"]["message"].as_str().unwrap().contains("32 x 64 pixels, its image 64 x 64"), "{refusal}");
}

#[tokio::test]
async fn a_strength_of_nothing_is_refused_and_an_odd_image_is_told() {
    let server = Server::start().await;
    let user = server.browser().await;
    let mut request = small("a disc", 1);
    request["image"] = json!(png(640, 64));
    request["strength"] = json!(0.0);
    let (status, refusal) = user.ask(&request).await;
    assert_eq!((status.as_u16(), &refusal["error"]["field"]), (422, &json!("strength")), "{refusal}");
    request["strength"] = json!(1.0);
    let job = user.draw(&request).await;
    assert!(job["warnings"][0].as_str().unwrap().contains("stretched"), "{job}");
}

#[tokio::test]
async fn what_is_no_json_or_too_large_is_refused() {
    let server = Server::with(|config| config.limits.body_bytes = 100_000).await;
    let user = server.program();
    let post = |body: Vec<u8>, kind: &'static str| {
        let request = user.request(Method::POST, "/api/v1/jobs").header("content-type", kind).body(body);
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap()["error"]["code"].clone())
        }
    };
    assert_eq!(post(b"{".to_vec(), "application/json").await, (400, json!("malformed")));
    assert_eq!(post(vec![0xff, 0xfe], "application/json").await, (400, json!("malformed")));
    assert_eq!(post(b"[]".to_vec(), "application/json").await, (422, json!("invalid")));
    let deep = [b"{\"image\":".as_slice(), &vec![b'['; 50_000]].concat();
    assert_eq!(post(deep, "application/json").await, (422, json!("invalid")));
    assert_eq!(post(b"prompt=a".to_vec(), "application/x-www-form-urlencoded").await, (400, json!("malformed")));
    assert_eq!(post(vec![b' '; 100_001], "application/json").await, (413, json!("too_large")));
}

#[tokio::test]
async fn every_error_is_json() {
    let server = Server::start().await;
    let user = server.program();
    let nowhere = "00000000-0000-4000-8000-000000000000";
    for (method, path, status) in [
        (Method::GET, "/nothing".to_owned(), 404),
        (Method::POST, "/nothing".to_owned(), 404),
        (Method::PUT, "/api/v1/jobs".to_owned(), 405),
        (Method::GET, "/api/v1/jobs".to_owned(), 405),
        (Method::GET, "/api/v1/jobs/x".to_owned(), 404),
        (Method::GET, format!("/api/v1/jobs/{nowhere}"), 404),
        (Method::DELETE, format!("/api/v1/jobs/{nowhere}"), 404),
        (Method::GET, format!("/api/v1/jobs/{nowhere}/events"), 404),
        (Method::GET, format!("/api/v1/jobs/{nowhere}/preview"), 404),
        (Method::DELETE, format!("/api/v1/history/{nowhere}"), 404),
        (Method::GET, format!("/images/{nowhere}/0.png"), 404),
        (Method::GET, "/images/../../secret".to_owned(), 404),
        (Method::GET, "/images/x/0.png".to_owned(), 404),
        (Method::GET, "/api/v1/inputs/..%2f..%2fsecret".to_owned(), 404),
        (Method::GET, "/assets/../Cargo.toml".to_owned(), 404),
        (Method::GET, "/assets/%2e%2e/Cargo.toml".to_owned(), 404),
        (Method::GET, "/api/v1/history?limit=many".to_owned(), 422),
        (Method::GET, "/api/v1/loras?model=sd9".to_owned(), 404),
    ] {
        let response = user.send(method.clone(), &path, None).await;
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        let body: Value = response.json().await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert!(body["error"]["message"].is_string(), "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn a_full_queue_says_when_to_ask_again() {
    let server = Server::with(|config| (config.max_queue, config.max_queue_per_user) = (3, 2)).await;
    let (anna, ben) = (server.browser().await, server.browser().await);
    let running = anna.submit(&crate::client::long("a disc", 1)).await;
    anna.job_when(&running, |job| job["status"] == "running").await;
    for seed in 0..2 {
        anna.submit(&small("a disc", seed)).await;
    }
    let response = anna.send(Method::POST, "/api/v1/jobs", Some(&small("a disc", 9))).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    let refusal: Value = response.json().await.unwrap();
    assert!(refusal["error"]["message"].as_str().unwrap().contains("2 jobs of yours"), "{refusal}");
    ben.submit(&small("a ring", 1)).await;
    let (status, refusal) = ben.ask(&small("a ring", 2)).await;
    assert_eq!((status.as_u16(), &refusal["error"]["code"]), (429, &json!("queue_full")));
    anna.cancel(&running).await;
}

#[tokio::test]
async fn sizes_beyond_the_memory_and_the_limits_are_refused() {
    let small_machine = Server::with(|config| config.limits.memory = Some(1_000_000)).await;
    let (status, refusal) = small_machine.program().ask(&small("a disc", 1)).await;
    assert_eq!((status.as_u16(), &refusal["error"]["field"]), (422, &json!("width")), "{refusal}");
    assert!(refusal["error"]["message"].as_str().unwrap().contains("of memory"), "{refusal}");
    let strict = Server::with(|config| config.limits.pixels = 64 * 64).await;
    let mut request = small("a disc", 1);
    assert_eq!(strict.program().ask(&request).await.0, StatusCode::ACCEPTED);
    request["height"] = json!(80);
    let (status, refusal) = strict.program().ask(&request).await;
    assert_eq!((status.as_u16(), &refusal["error"]["field"]), (422, &json!("height")), "{refusal}");
}
