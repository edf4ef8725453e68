//! Open `WebUI`: both of its engines.

use serde_json::{Value, json};

use crate::server::{DISTILLED, MODEL, Server, picture, size_of_png};

/// Check, list, choose and draw, with the header that it sends without a login.
#[tokio::test(flavor = "multi_thread")]
async fn the_engine_automatic1111_checks_chooses_and_draws() {
    let server = Server::start().await;
    let mut options = server.get("/sdapi/v1/options").await.json(200);
    assert_eq!(options["sd_model_checkpoint"], MODEL);
    let models = server.get("/sdapi/v1/sd-models").await.json(200);
    let named: Vec<(&Value, &Value)> =
        models.as_array().unwrap().iter().map(|model| (&model["title"], &model["model_name"])).collect();
    assert_eq!(named, [(&json!(MODEL), &json!(MODEL)), (&json!(DISTILLED), &json!(DISTILLED))]);

    // The administrator chooses a model, and all options come back.
    options["sd_model_checkpoint"] = DISTILLED.into();
    assert_eq!(server.post("/sdapi/v1/options", &options).await.json(200), Value::Null);
    assert_eq!(server.get("/sdapi/v1/options").await.json(200)["sd_model_checkpoint"], DISTILLED);
    assert_eq!(server.seen_from([10, 0, 0, 2]).get("/sdapi/v1/options").await.json(200)["sd_model_checkpoint"], MODEL);

    let request =
        json!({ "prompt": "a red ring", "batch_size": 2, "width": 64, "height": 48, "steps": 2, "negative_prompt": "blurry" });
    for authorization in ["", "Basic ", "Basic Og=="] {
        let answer = server.post_as("/sdapi/v1/txt2img", &request, &[("authorization", authorization)]).await.json(200);
        let images = answer["images"].as_array().unwrap();
        assert_eq!(images.len(), 2);
        assert!(images.iter().all(|image| size_of_png(image) == (64, 48)));
        let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
        assert_eq!((&info["sd_model_name"], &info["steps"]), (&DISTILLED.into(), &2.into()));
    }
}

/// Its list of models cannot be changed, its key may be empty, and pictures must not come as addresses.
#[tokio::test(flavor = "multi_thread")]
async fn the_engine_openai_draws_with_names_that_are_built_in() {
    let server = Server::start().await;
    for model in ["dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1.5", "our-old-name", MODEL] {
        let request =
            json!({ "model": model, "prompt": "a red ring", "n": 1, "size": "64x48", "response_format": "b64_json", "steps": 1 });
        let headers = [("authorization", "Bearer "), ("x-openwebui-user-name", "me")];
        let answer = server.post_as("/v1/images/generations?api-version=2", &request, &headers).await.json(200);
        assert_eq!(size_of_png(&answer["data"][0]["b64_json"]), (64, 48));
        assert_eq!(answer["data"][0].get("url"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_openai_edits_one_picture_or_a_list_of_one() {
    let server = Server::start().await;
    let picture = picture(64, 48);
    for name in ["image", "image[]"] {
        let parts: [(&str, Option<&str>, &[u8]); 7] = [
            ("model", None, b"gpt-image-1"),
            ("prompt", None, b"a red ring"),
            ("n", None, b"1"),
            ("size", None, b"64x48"),
            ("response_format", None, b"b64_json"),
            ("steps", None, b"2"),
            (name, Some("b1f4.png"), &picture),
        ];
        let answer = server.post_form("/v1/images/edits", &parts).await.json(200);
        assert_eq!(size_of_png(&answer["data"][0]["b64_json"]), (64, 48));
    }
}
