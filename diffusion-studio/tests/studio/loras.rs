//! LoRAs by name.

use serde_json::{Value, json};

use crate::client::{Server, User, pixels, small, write_lora};

async fn with_loras() -> Server {
    let data = tempfile::tempdir().unwrap();
    write_lora(&data.path().join("loras/style.safetensors"), 0.4);
    write_lora(&data.path().join("loras/people/Anna.safetensors"), 0.2);
    std::fs::write(data.path().join("loras/broken.safetensors"), "no LoRA").unwrap();
    Server::on(data, |_| {}).await
}

async fn drawn(user: &User, loras: Value) -> image::RgbImage {
    let mut request = small("a large green star", 3);
    request["loras"] = loras;
    let job = user.draw(&request).await;
    pixels(&user.bytes(job["images"][0]["url"].as_str().unwrap()).await)
}

#[tokio::test]
async fn a_lora_changes_the_picture_with_its_weight_and_leaves_no_trace() {
    let server = with_loras().await;
    let user = server.browser().await;
    let plain = drawn(&user, json!([])).await;
    let full = drawn(&user, json!([{ "name": "style" }])).await;
    let half = drawn(&user, json!([{ "name": "style", "weight": 0.5 }])).await;
    let both = drawn(&user, json!([{ "name": "style" }, { "name": "people/anna", "weight": 0.3 }])).await;
    assert!(plain != full && full != half && half != plain && both != full);
    // Without LoRAs the weights are the file's again, to the bit.
    let mut request = small("a large green star", 3);
    request["output_format"] = json!("webp");
    let job = user.draw(&request).await;
    let again = image::load_from_memory(&user.bytes(job["images"][0]["url"].as_str().unwrap()).await).unwrap().into_rgb8();
    assert!(again == plain);
}

#[tokio::test]
async fn the_list_tells_triggers_and_what_does_not_fit() {
    let server = with_loras().await;
    let user = server.program();
    let loras = user.get("/api/v1/loras?model=mini-sd3").await["loras"].clone();
    let names: Vec<&str> = loras.as_array().unwrap().iter().map(|lora| lora["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["broken", "people/Anna", "style"]);
    assert_eq!((&loras[2]["triggers"], &loras[2]["fits"], &loras[2]["rank"]), (&json!(["ohwx"]), &json!(true), &json!(2)));
    assert!(loras[0]["fits"] == false && loras[0]["problem"].is_string(), "{loras}");
    let mut request = small("a star", 1);
    request["loras"] = json!([{ "name": "broken" }]);
    let (status, refusal) = user.ask(&request).await;
    assert_eq!((status.as_u16(), &refusal["error"]["field"]), (422, &json!("loras[0].name")));
    for weight in [json!(1000), json!("much")] {
        request["loras"] = json!([{ "name": "style", "weight": weight }]);
        assert_eq!(user.ask(&request).await.0.as_u16(), 422);
    }
}

#[tokio::test]
async fn a_file_that_is_put_there_later_is_found_by_looking_again() {
    let server = with_loras().await;
    let user = server.program();
    write_lora(&server.data.path().join("loras/new.safetensors"), 0.1);
    assert_eq!(user.get("/api/v1/loras").await["loras"].as_array().unwrap().len(), 3);
    let again = user.send(reqwest::Method::POST, "/api/v1/loras/rescan", None).await.json::<Value>().await.unwrap();
    assert_eq!(again["loras"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_lora_with_other_contents_is_another_picture() {
    let server = with_loras().await;
    let user = server.browser().await;
    let mut request = small("a large green star", 3);
    request["loras"] = json!([{ "name": "style" }]);
    assert_eq!(user.draw(&request).await["cached"], false);
    assert_eq!(user.draw(&request).await["cached"], true);
    write_lora(&server.data.path().join("loras/style.safetensors"), 0.1);
    user.send(reqwest::Method::POST, "/api/v1/loras/rescan", None).await;
    assert_eq!(user.draw(&request).await["cached"], false);
}
