//! What the protocol of AUTOMATIC1111 promises besides.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::server::{DISTILLED, MODEL, Server, picture, pixels_of, size_of_png, white_mask};

fn info(answer: &Value) -> Value {
    serde_json::from_str(answer["info"].as_str().unwrap()).unwrap()
}

fn warnings(answer: &Value) -> String {
    info(answer)["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Keys that clients look for.
const INFO_KEYS: [&str; 33] = [
    "prompt",
    "all_prompts",
    "negative_prompt",
    "all_negative_prompts",
    "seed",
    "all_seeds",
    "subseed",
    "all_subseeds",
    "subseed_strength",
    "width",
    "height",
    "sampler_name",
    "cfg_scale",
    "steps",
    "batch_size",
    "restore_faces",
    "face_restoration_model",
    "sd_model_name",
    "sd_model_hash",
    "sd_vae_name",
    "sd_vae_hash",
    "seed_resize_from_w",
    "seed_resize_from_h",
    "denoising_strength",
    "extra_generation_params",
    "index_of_first_image",
    "infotexts",
    "styles",
    "job_timestamp",
    "clip_skip",
    "is_using_inpainting_conditioning",
    "version",
    "warnings",
];

/// All fields that `webuiapi` always sends.
fn webuiapi_request() -> Value {
    let json = r#"{
        "enable_hr": false, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_resize_x": 0, "hr_resize_y": 0,
        "hr_checkpoint_name": null, "hr_sampler_name": null, "hr_scheduler": null, "hr_prompt": "", "hr_negative_prompt": "",
        "denoising_strength": 0.7, "firstphase_width": 0, "firstphase_height": 0, "prompt": "a (red:1.2) ring", "styles": [],
        "seed": 5, "subseed": -1, "subseed_strength": 0.0, "seed_resize_from_h": 0, "seed_resize_from_w": 0, "batch_size": 1,
        "n_iter": 2, "steps": 2, "cfg_scale": 7.0, "width": 64, "height": 48, "restore_faces": false, "tiling": false,
        "do_not_save_samples": false, "do_not_save_grid": false, "negative_prompt": "", "eta": 1.0, "s_churn": 0, "s_tmax": 0,
        "s_tmin": 0, "s_noise": 1, "override_settings": {}, "override_settings_restore_afterwards": true, "sampler_name": "Restart",
        "scheduler": "automatic", "sampler_index": "Euler a", "script_name": null, "script_args": [], "send_images": true,
        "save_images": false, "alwayson_scripts": {}
    }"#;
    serde_json::from_str(json).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn info_has_all_keys_and_says_what_was_not_done() {
    let server = Server::start().await;
    let answer = server.post("/sdapi/v1/txt2img", &webuiapi_request()).await.json(200);
    assert_eq!(answer["images"].as_array().unwrap().len(), 2);
    let info = info(&answer);
    for key in INFO_KEYS {
        assert!(info.get(key).is_some(), "{key}");
    }
    assert_eq!((&info["all_seeds"], &info["cfg_scale"], &info["sampler_name"]), (&json!([5, 6]), &json!(7.0), &json!("Euler")));
    let warnings = warnings(&answer);
    assert!(warnings.contains("\"Restart\"") && warnings.contains("(word:1.2)"), "{warnings}");
    let infotext = info["infotexts"][0].as_str().unwrap();
    assert!(infotext.starts_with("a (red:1.2) ring\nSteps: 2, Sampler: Euler, "), "{infotext}");

    // Every picture says so, too.
    let read = server.post("/sdapi/v1/png-info", &json!({ "image": answer["images"][0] })).await.json(200);
    assert_eq!(read["info"], infotext);
    assert_eq!((&read["parameters"]["Seed"], &read["parameters"]["Size-1"]), (&json!("5"), &json!("64")));
    let empty = server.post("/sdapi/v1/png-info", &json!({ "image": STANDARD.encode(picture(8, 8)) })).await.json(200);
    assert_eq!(empty, json!({ "info": "", "items": {}, "parameters": {} }));
}

#[tokio::test(flavor = "multi_thread")]
async fn loras_in_prompts_change_the_picture() {
    let server = Server::start().await;
    let draw = async |prompt: &str, loras: Value| {
        let request = json!({ "prompt": prompt, "seed": 1, "steps": 2, "width": 64, "height": 48, "lora": loras });
        let answer = server.post("/sdapi/v1/txt2img", &request).await.json(200);
        pixels_of(&answer["images"][0])
    };
    let plain = draw("a ring", json!([])).await;
    let tagged = draw("a ring <lora:kohya:0.8>", json!([])).await;
    assert!(plain != tagged);
    assert!(tagged == draw("a ring", json!([{ "path": "kohya.safetensors", "multiplier": 0.8 }])).await);
    assert!(plain == draw("a ring <lora:kohya:0>", json!([])).await);

    let refused = server.post("/sdapi/v1/txt2img", &json!({ "prompt": "a ring <lora:inkk:0.8>" })).await.json(422);
    assert!(refused["detail"].as_str().unwrap().contains("\"inkk\""), "{refused}");
    assert_eq!(refused["field"], "prompt");
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_tell_what_is_redrawn() {
    let server = Server::start().await;
    let (width, height) = (64, 48);
    let start = picture(width, height);
    let draw = async |invert: u8| {
        let request = json!({
            "prompt": "a ring", "init_images": [format!("data:image/png;base64,{}", STANDARD.encode(&start))], "steps": 4,
            "mask": STANDARD.encode(white_mask(width, height)), "mask_blur": 0, "inpainting_fill": 0, "inpaint_full_res": true,
            "inpainting_mask_invert": invert, "resize_mode": 1, "denoising_strength": 1.0, "width": width, "height": height,
        });
        server.post("/sdapi/v1/img2img", &request).await.json(200)
    };
    let before = image::load_from_memory(&start).unwrap().into_rgb8();
    let kept = |answer: &Value, left: bool| {
        let after = pixels_of(&answer["images"][0]);
        let side = |x: u32| (x < width / 2) == left;
        before.enumerate_pixels().filter(|(x, ..)| side(*x)).all(|(x, y, pixel)| after.get_pixel(x, y) == pixel)
    };
    let answer = draw(0).await;
    assert!(kept(&answer, false) && !kept(&answer, true));
    assert_eq!((&answer["parameters"]["init_images"], &answer["parameters"]["mask"]), (&Value::Null, &Value::Null));
    let warnings = warnings(&answer);
    for field in ["resize_mode", "inpainting_fill", "inpaint_full_res"] {
        assert!(warnings.contains(field), "{field}: {warnings}");
    }
    let inverted = draw(1).await;
    assert!(kept(&inverted, true) && !kept(&inverted, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_absent_is_the_models_own() {
    let server = Server::start().await;
    let request = json!({
        "prompt": "a ring", "width": 64, "height": 48, "steps": 1, "cfg_scale": 1, "distilled_cfg_scale": 2.5,
        "override_settings": { "sd_model_checkpoint": format!("{DISTILLED}.safetensors [0123abcd]") },
    });
    let info = info(&server.post("/sdapi/v1/txt2img", &request).await.json(200));
    assert_eq!((&info["sd_model_name"], &info["cfg_scale"]), (&json!(DISTILLED), &json!(2.5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_json_that_name_the_field() {
    let server = Server::start().await;
    let small = |field: &str, value: Value| {
        let mut request = json!({ "prompt": "a ring", "width": 64, "height": 48, "steps": 1 });
        request[field] = value;
        request
    };
    let cases = [
        (small("sampler_name", json!("Eulre")), 404, "sampler_name"),
        (small("scheduler", json!("kerras")), 422, "scheduler"),
        (small("steps", json!("many")), 422, "steps"),
        (small("width", json!(65)), 422, "width"),
        (small("width", json!(1_000_000)), 422, "width"),
        (small("batch_size", json!(1000)), 422, "batch_size"),
        (small("enable_hr", json!(true)), 422, "enable_hr"),
        (small("script_name", json!("x/y/z plot")), 422, "script_name"),
        (small("override_settings", json!({ "sd_model_checkpoint": "v1-5" })), 404, "override_settings.sd_model_checkpoint"),
    ];
    for (request, status, field) in cases {
        let error = server.post("/sdapi/v1/txt2img", &request).await.json(status);
        assert_eq!(error["field"], field, "{error}");
        for key in ["error", "detail", "body", "errors"] {
            assert!(error[key].is_string(), "{error}");
        }
    }
    let broken = json!({ "prompt": "a ring", "init_images": ["%%%"], "width": 64, "height": 48 });
    assert_eq!(server.post("/sdapi/v1/img2img", &broken).await.json(422)["field"], "init_images");
    let wrong_mask = json!({
        "prompt": "a ring", "init_images": [STANDARD.encode(picture(64, 48))], "mask": STANDARD.encode(white_mask(32, 48)),
        "width": 64, "height": 48,
    });
    assert_eq!(server.post("/sdapi/v1/img2img", &wrong_mask).await.json(422)["field"], "mask");
    assert_eq!(
        server.post("/sdapi/v1/options", &json!({ "sd_model_checkpoint": "v1-5" })).await.json(404)["field"],
        "sd_model_checkpoint"
    );
    assert_eq!(server.post("/sdapi/v1/txt2img", &json!([])).await.json(400)["error"], "malformed");
    assert_eq!(server.get("/sdapi/v1/nothing").await.json(404)["error"], "not_found");
    assert_eq!(server.post("/sdapi/v1/interrogate", &json!({})).await.json(404)["error"], "unsupported");
    assert_eq!(server.post("/sdapi/v1/extra-single-image", &json!({})).await.json(404)["error"], "unsupported");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_small_endpoint_answers_json() {
    let server = Server::start().await;
    for path in ["interrupt", "unload-checkpoint", "reload-checkpoint"] {
        assert_eq!(server.post(&format!("/sdapi/v1/{path}"), &json!({})).await.json(200), json!({}), "{path}");
    }
    for path in ["skip", "refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings"] {
        assert_eq!(server.post(&format!("/sdapi/v1/{path}"), &json!({})).await.json(200), Value::Null, "{path}");
    }
    for path in ["hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "script-info", "extensions"] {
        assert_eq!(server.get(&format!("/sdapi/v1/{path}")).await.json(200), json!([]), "{path}");
    }
    assert_eq!(server.get("/sdapi/v1/cmd-flags").await.json(200), json!({}));
    assert_eq!(server.get("/sdapi/v1/scripts").await.json(200), json!({ "txt2img": [], "img2img": [] }));
    assert_eq!(server.get("/sdapi/v1/embeddings").await.json(200), json!({ "loaded": {}, "skipped": {} }));
    let memory = server.get("/sdapi/v1/memory").await.json(200);
    assert!(memory["ram"]["total"].as_u64().unwrap() > 0 && memory["cuda"].is_object(), "{memory}");
}

/// A picture that takes long enough to be watched.
fn long_request(steps: usize) -> Value {
    json!({ "prompt": "a ring", "width": 224, "height": 224, "steps": steps, "batch_size": 16, "seed": 3, "cfg_scale": 5 })
}

async fn until(server: &Server, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let progress = server.get("/sdapi/v1/progress").await.json(200);
        if holds(&progress) {
            return progress;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come to that: {}", server.get("/sdapi/v1/progress").await.json(200))
}

/// AUTOMATIC1111 and ComfyUI end whatever runs.
#[tokio::test(flavor = "multi_thread")]
async fn interrupt_ends_ones_own_picture_and_nobody_elses() {
    let server = Server::start().await;
    let (mine, other) = (server.seen_from([10, 0, 0, 1]), server.seen_from([10, 0, 0, 2]));
    let drawing = tokio::spawn(async move { mine.post("/sdapi/v1/txt2img", &long_request(500)).await });
    let progress = until(&server, |progress| progress["progress"].as_f64().unwrap() > 0.01).await;
    assert_eq!((&progress["state"]["job_count"], &progress["state"]["sampling_steps"]), (&json!(16), &json!(500)));

    // A pixel of the preview stands for 8 x 8.
    let previewed = until(&server, |progress| !progress["current_image"].is_null()).await;
    assert_eq!(size_of_png(&previewed["current_image"]), (28, 28));
    let bare = server.get("/sdapi/v1/progress?skip_current_image=true").await.json(200);
    assert_eq!(bare["current_image"], Value::Null);

    // Somebody else sees that something is drawn, but not what, and cannot end it.
    let seen = other.get("/sdapi/v1/progress").await.json(200);
    assert_eq!((&seen["current_image"], &seen["state"]["job_count"]), (&Value::Null, &json!(16)));
    other.post("/sdapi/v1/interrupt", &json!({})).await.json(200);
    let waiting = tokio::spawn(async move {
        other.post("/sdapi/v1/txt2img", &json!({ "prompt": "a star", "width": 64, "height": 48, "steps": 1 })).await
    });
    assert!(!drawing.is_finished());

    server.post("/sdapi/v1/interrupt", &json!({})).await.json(200);
    let answer = drawing.await.unwrap();
    // Images that were finished before are given.
    if answer.status == 200 {
        assert!(warnings(&answer.json(200)).contains("interrupted"));
    } else {
        assert_eq!(answer.json(409)["error"], "conflict");
    }
    assert_eq!(size_of_png(&waiting.await.unwrap().json(200)["images"][0]), (64, 48));
    assert_eq!(until(&server, |progress| progress["state"]["job_count"] == 0).await["progress"], 0.0);
}

/// koboldcpp #1531, stable-diffusion.cpp #1036: the client is gone, and the render goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_frees_the_worker() {
    let server = Server::start().await;
    let client = server.seen_from([10, 0, 0, 1]);
    let drawing = tokio::spawn(async move { client.post("/sdapi/v1/txt2img", &long_request(500)).await });
    let seen = until(&server, |progress| {
        progress["state"]["job_no"].as_u64().unwrap() + progress["state"]["sampling_step"].as_u64().unwrap() > 0
    })
    .await;
    assert!(seen["state"]["job_no"].as_u64().unwrap() < 8, "{seen}");
    drawing.abort();
    until(&server, |progress| progress["state"]["job_count"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_the_default_one_until_it_is_chosen() {
    let server = Server::start().await;
    let request = json!({ "prompt": "a ring", "width": 64, "height": 48, "steps": 1 });
    assert_eq!(info(&server.post("/sdapi/v1/txt2img", &request).await.json(200))["sd_model_name"], MODEL);
}
