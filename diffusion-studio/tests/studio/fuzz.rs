//! A hundred thousand requests that nobody means.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use diffusion_studio::registry::ModelSource;
use diffusion_studio::{Studio, StudioConfig, router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::client::write_lora;

const REQUESTS: usize = 100_000;
/// What stands in a file beside the folder of the data, and is never to be seen.
const CANARY: &str = "canary-d2b1f0";

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Requests that are meant, of every endpoint.
fn meant(description: &Value) -> Vec<(String, String, Value)> {
    let bodies = bodies();
    let id = "00000000-0000-4000-8000-000000000000";
    let mut requests = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let filled = path.replace("{id}", id).replace("{file}", "0.png").replace("{name}", "style");
        for method in methods.as_object().unwrap().keys() {
            let body = bodies.iter().find(|(known, _)| known == path).map_or(Value::Null, |(_, body)| body.clone());
            requests.push((method.to_uppercase(), filled.clone(), body));
        }
    }
    requests.extend(bodies.into_iter().map(|(path, body)| ("POST".to_owned(), path.to_owned(), body)));
    requests.extend(["/", "/assets/index.html", "/openapi.json"].map(|path| ("GET".to_owned(), path.to_owned(), Value::Null)));
    requests
}

fn bodies() -> Vec<(&'static str, Value)> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(16, 16).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let picture = crate::drawing::base64(png.get_ref());
    let job = json!({
        "kind": "inpaint", "model": "mini-sd3", "prompt": "a disc", "negative_prompt": "blurry", "width": 16, "height": 16, "steps": 1,
        "guidance_scale": 2.0, "sampler": "euler", "schedule": "karras", "shift": 3.0, "shift_terminal": 0.1, "sigmas": [1.0, 0.0],
        "seed": 1, "count": 1, "loras": [{ "name": "style", "weight": 0.5 }], "image": picture, "mask": picture, "strength": 0.9,
        "mask_feather": 1, "tile_vae": true, "max_sequence_length": 16, "guidance": { "method": "apg", "rescale": 0.5, "interval": [0.1, 0.9] },
        "skip_layers": { "layers": [1] }, "step_cache": { "method": "easy", "threshold": 0.1 }, "output_format": "png", "quality": 90
    });
    let a1111 = json!({
        "prompt": "a disc <lora:style:0.5>", "negative_prompt": "", "width": 16, "height": 16, "steps": 1, "cfg_scale": 2, "seed": 1,
        "sampler_name": "Euler a", "scheduler": "automatic", "batch_size": 1, "n_iter": 1, "override_settings": { "sd_model_checkpoint": "mini-sd3" },
        "init_images": [picture], "mask": picture, "denoising_strength": 0.9, "mask_blur": 1, "inpainting_mask_invert": 0, "script_name": null,
        "alwayson_scripts": {}, "enable_hr": false
    });
    let openai = json!({
        "model": "mini-sd3", "prompt": "a disc", "n": 1, "size": "16x16", "response_format": "b64_json", "quality": "auto", "steps": 1,
        "background": "auto", "output_format": "png", "output_compression": 90, "stream": false, "partial_images": 1, "user": "u"
    });
    vec![
        ("/api/v1/jobs", job.clone()),
        ("/api/v1/plan", job),
        ("/api/v1/inspect", json!({ "image": picture })),
        ("/sdapi/v1/txt2img", a1111.clone()),
        ("/sdapi/v1/img2img", a1111),
        ("/sdapi/v1/png-info", json!({ "image": picture })),
        ("/sdapi/v1/options", json!({ "sd_model_checkpoint": "mini-sd3" })),
        ("/v1/images/generations", openai),
    ]
}

/// Values that nobody means.
fn odd(random: &mut Random) -> Value {
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1e308),
        json!(-1e-300),
        json!(18_446_744_073_709_551_615_u64),
        json!(0.5),
        json!(""),
        json!("../../canary"),
        json!("/etc/passwd"),
        json!("%00"),
        json!("\u{0}"),
        json!("data:image/png;base64,"),
        json!("<lora:../canary:1>"),
        json!("a".repeat(5000)),
        json!([]),
        json!({}),
        json!([[[]]]),
        json!({ "a": 1 }),
        json!("\u{202e}ñ🦀"),
        deep,
        json!("NaN"),
        json!(["style"]),
        json!("/api/v1/inputs/../secret"),
        json!("16x16x16"),
        json!("99999999x1"),
    ];
    random.pick(&values).clone()
}

/// Change a value somewhere.
fn mutate(value: &mut Value, random: &mut Random) {
    match value {
        Value::Object(fields) if !fields.is_empty() && random.below(8) > 0 => {
            let name = fields.keys().nth(random.below(fields.len())).unwrap().clone();
            match random.below(6) {
                0 => drop(fields.remove(&name)),
                1 => drop(fields.insert(format!("{name}x"), odd(random))),
                2 => mutate(fields.get_mut(&name).unwrap(), random),
                _ => drop(fields.insert(name, odd(random))),
            }
        }
        Value::Array(items) if !items.is_empty() && random.below(4) > 0 => {
            let index = random.below(items.len());
            mutate(&mut items[index], random);
        }
        other => *other = odd(random),
    }
}

fn request(meant: &[(String, String, Value)], random: &mut Random) -> Request<Body> {
    let (method, path, body) = random.pick(meant);
    let mut path = path.clone();
    match random.below(12) {
        0 => {
            let end: &&str =
                random.pick(&["/", "/..", "%2e%2e%2f", "?limit=-1", "?model=x", "/x", "%00", "?before=nan", "//", "%ff"]);
            path.push_str(end);
        }
        1 => {
            let at = 1 + random.below(path.len().saturating_sub(1).max(1));
            let inserted: &&str = random.pick(&["../", "%2e%2e/", "a", "%", "\u{e9}", "{}"]);
            path.insert_str(at.min(path.len()), inserted);
        }
        _ => {}
    }
    let method =
        if random.below(12) == 0 { *random.pick(&["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"]) } else { method };
    let mut body = body.clone();
    for _ in 0..random.below(4) {
        mutate(&mut body, random);
    }
    let mut bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
    if random.below(10) == 0 && !bytes.is_empty() {
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        bytes.truncate(1 + random.below(bytes.len()));
    }
    let kind = if random.below(20) == 0 {
        *random.pick(&["text/plain", "multipart/form-data; boundary=x", "application/x"])
    } else {
        "application/json"
    };
    let header = *random.pick(&["", "k", "\u{e9}", "../../canary"]);
    let request = Request::builder().method(method).header("content-type", kind).header("host", "localhost");
    let request = if header.is_empty() { request } else { request.header("idempotency-key", header.as_bytes()) };
    match request.uri(&path).body(Body::from(bytes.clone())) {
        Ok(request) => request,
        // No client could send such a path.
        Err(_) => Request::builder().method(method).uri("/api/v1/jobs").body(Body::from(bytes)).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_makes_the_server_fail_or_look_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("canary"), CANARY).unwrap();
    std::fs::write(folder.path().join("canary.safetensors"), CANARY).unwrap();
    let data = folder.path().join("data");
    write_lora(&data.join("loras/style.safetensors"), 0.1);
    let mut config = StudioConfig::new(data.clone(), vec![ModelSource::miniature().unwrap()]);
    config.lora_dir = Some(data.join("loras"));
    config.jobs_per_minute = None;
    (config.max_queue, config.max_queue_per_user) = (8, 8);
    (config.limits.pixels, config.limits.steps, config.limits.count) = (32 * 32, 1, 1);
    let studio = Studio::start(config).await.unwrap();
    let app = router(&studio);
    let description = app.clone().oneshot(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.unwrap();
    let description = to_bytes(description.into_body(), 1 << 24).await.unwrap();
    let meant = meant(&serde_json::from_slice(&description).unwrap());
    let mut tasks = Vec::new();
    for task in 0..4_u64 {
        let (app, meant) = (app.clone(), meant.clone());
        tasks.push(tokio::spawn(async move {
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (task + 1));
            let mut statuses = std::collections::BTreeMap::new();
            for _ in 0..REQUESTS / 4 {
                let request = request(&meant, &mut random);
                let shown = format!("{} {}", request.method(), request.uri());
                let answer = tokio::time::timeout(crate::client::PATIENCE, app.clone().oneshot(request));
                let response = answer.await.unwrap_or_else(|_| panic!("no answer: {shown}")).unwrap();
                let status = response.status();
                *statuses.entry(status.as_u16()).or_insert(0_usize) += 1;
                let may_fail = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INSUFFICIENT_STORAGE];
                // A stream of events ends with its job; its beginning says enough.
                let kind = response.headers().get("content-type").map(|kind| kind.as_bytes().to_vec()).unwrap_or_default();
                if kind.starts_with(b"text/event-stream") {
                    continue;
                }
                let body = to_bytes(response.into_body(), 1 << 26).await.unwrap();
                let body = String::from_utf8_lossy(&body);
                assert!(status.as_u16() < 500 || may_fail.contains(&status), "{shown}: {status} {body}");
                assert!(!body.contains(CANARY), "{shown}: {body}");
            }
            statuses
        }));
    }
    let mut counted = std::collections::BTreeMap::new();
    for task in tasks {
        for (status, count) in task.await.unwrap() {
            *counted.entry(status).or_insert(0) += count;
        }
    }
    assert_eq!(counted.values().sum::<usize>(), REQUESTS);
    // Most are understood and refused, and some are even answered.
    assert!(counted[&422] > REQUESTS / 20 && counted[&200] > REQUESTS / 20, "{counted:?}");
    studio.shut_down().await;
}
