//! `SillyTavern`: its sources for AUTOMATIC1111 and for stable-diffusion.cpp.

use axum::http::Method;
use serde_json::{Value, json};

use crate::server::{DISTILLED, MODEL, Server, size_of_png};

/// All that it asks for before it draws.
#[tokio::test(flavor = "multi_thread")]
async fn the_source_auto_finds_its_lists_and_draws() {
    let server = Server::start().await;
    let list = async |path: &str, key: &str| -> Vec<String> {
        let list = server.get(&format!("/sdapi/v1/{path}")).await.json(200);
        list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list("upscalers", "name").await, ["None", "Lanczos", "Nearest"]);
    assert_eq!(list("latent-upscale-modes", "name").await, [""; 0]);
    assert_eq!(list("sd-vae", "model_name").await, [""; 0]);
    assert!(list("samplers", "name").await.contains(&"Euler a".to_owned()));
    assert!(list("schedulers", "name").await.contains(&"automatic".to_owned()));
    assert_eq!(list("sd-models", "title").await, [MODEL, DISTILLED]);
    let loras = list("loras", "name").await;
    assert!(loras.contains(&"kohya".to_owned()), "{loras:?}");

    let chosen = server.post("/sdapi/v1/options", &json!({ "sd_model_checkpoint": MODEL })).await;
    assert_eq!(chosen.json(200), Value::Null);
    let progress = server.get("/sdapi/v1/progress").await.json(200);
    assert_eq!((&progress["progress"], &progress["state"]["job_count"]), (&json!(0.0), &json!(0)));
    assert!(server.get("/sdapi/v1/options").await.json(200).get("forge_preset").is_none());

    let request = json!({
        "url": "http://127.0.0.1:7860", "auth": "", "prompt": "a red ring <lora:kohya:0.5>", "negative_prompt": "blurry",
        "sampler_name": "DPM++ 2M Karras", "scheduler": "Automatic", "steps": 2, "cfg_scale": 5, "width": 64, "height": 48,
        "restore_faces": false, "enable_hr": false, "hr_upscaler": "Latent", "hr_scale": 2, "denoising_strength": 0.7,
        "hr_second_pass_steps": 0, "seed": 7,
        "override_settings": { "CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic", "forge_additional_modules": null },
        "override_settings_restore_afterwards": true, "clip_skip": 1, "save_images": true, "send_images": true,
        "do_not_save_grid": false, "do_not_save_samples": false,
    });
    let answer = server.post("/sdapi/v1/txt2img", &request).await.json(200);
    assert_eq!(size_of_png(&answer["images"][0]), (64, 48));
    assert_eq!(answer["parameters"], request);
    let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
    assert_eq!((&info["seed"], &info["sampler_name"], &info["prompt"]), (&7.into(), &"DPM++ 2M".into(), &"a red ring".into()));
    assert_eq!(info["extra_generation_params"]["Schedule type"], "Karras");
    // Nothing was left undone, but there is advice.
    let warnings = info["warnings"].as_array().unwrap();
    assert!(matches!(warnings.as_slice(), [advice] if advice.as_str().unwrap().contains("\"karras\"")), "{info}");
}

/// It looks by OPTIONS whether the server is there, and sends few fields.
#[tokio::test(flavor = "multi_thread")]
async fn the_source_sdcpp_pings_and_draws() {
    let server = Server::start().await;
    assert!(server.method(Method::OPTIONS, "/v1/images/generations").await.status.is_success());
    assert_eq!(server.get("/v1/models").await.json(200)["data"][0]["id"], MODEL);
    let request = json!({
        "prompt": "a red ring", "negative_prompt": "blurry", "width": 64, "height": 48, "steps": 2, "cfg_scale": 5, "seed": 7,
        "batch_size": 1, "sampler_name": "res multistep", "scheduler": "sgm_uniform", "clip_skip": 1,
    });
    let answer = server.post("/sdapi/v1/txt2img", &request).await.json(200);
    assert_eq!(size_of_png(&answer["images"][0]), (64, 48));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_answers_head() {
    let server = Server::start().await;
    assert!(server.method(Method::HEAD, "/").await.status.is_success());
    assert!(server.method(Method::HEAD, "/sdapi/v1/options").await.status.is_success());
}
