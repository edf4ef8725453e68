//! Pictures from requests.

use diffusion_app::image_file::read_parameters;
use diffusion_models::{Pipeline, PipelineOptions, Request, ignore};
use diffusion_studio::registry::ModelSource;
use diffusion_studio::{Studio, StudioConfig};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{PATIENCE, Server, User, pixels, small};

const STAR: &str = "a large green star on a white background";

/// What the library draws for the same request.
fn by_the_library(seed: u64, steps: usize, side: usize) -> Vec<u8> {
    let device = diffusion_app::device::DeviceName::Cpu.open().unwrap();
    let model = diffusion_app::embedded_model().unwrap();
    let mut pipeline = Pipeline::open(&model, &PipelineOptions::new(&device)).unwrap();
    let precision = diffusion_app::precision::PrecisionName::Auto.for_model(diffusion_app::device::DeviceName::Cpu, &pipeline);
    pipeline.set_precision(precision);
    let mut settings = diffusion_app::embedded_model::recommended(pipeline.default_settings());
    (settings.num_steps, settings.width, settings.height) = (steps, side, side);
    let request = Request { seeds: vec![seed], settings, ..Request::new(STAR) };
    pipeline.generate(&request, &mut ignore).unwrap().remove(0).pixels
}

async fn first_image(user: &User, job: &Value) -> Vec<u8> {
    user.bytes(job["images"][0]["url"].as_str().unwrap()).await
}

#[tokio::test]
async fn a_picture_is_that_of_the_library_to_the_bit_and_says_how_it_was_drawn() {
    let server = Server::start().await;
    let user = server.browser().await;
    let job = user.draw(&small(STAR, 7)).await;
    let png = first_image(&user, &job).await;
    assert!(pixels(&png).into_raw() == by_the_library(7, 2, 64));
    let parameters = read_parameters(&png).unwrap();
    let expected =
        format!("{STAR}\nSteps: 2, Sampler: Euler, Schedule type: Automatic, CFG scale: 5, Seed: 7, Size: 64x64, Model hash: ");
    assert!(parameters.starts_with(&expected), "{parameters}");
    assert_eq!((job["attempts"].as_u64(), job["cached"].as_bool()), (Some(1), Some(false)));
    assert_eq!(job["request"]["sampler"], "euler");

    let read = user.send(Method::POST, "/api/v1/inspect", Some(&json!({ "image": base64(&png) }))).await;
    let settings = read.json::<Value>().await.unwrap()["settings"].clone();
    let read = ["prompt", "seed", "steps", "width", "height", "sampler", "model"].map(|field| settings[field].clone());
    assert_eq!(json!(read), json!([STAR, 7, 2, 64, 64, "euler", "mini-sd3"]));
}

#[tokio::test]
async fn placed_components_draw_the_same_picture() {
    let place = "text_encoders=cpu,transformer=cpu,vae=cpu";
    let server = Server::with(|config| config.place = place.parse().unwrap()).await;
    let user = server.browser().await;
    let job = user.draw(&small(STAR, 7)).await;
    assert!(pixels(&first_image(&user, &job).await).into_raw() == by_the_library(7, 2, 64));
}

#[tokio::test]
async fn a_component_on_a_device_that_is_not_there_ends_the_start() {
    let data = tempfile::tempdir().unwrap();
    let mut config = StudioConfig::new(data.path().to_owned(), vec![ModelSource::miniature().unwrap()]);
    config.place = "vae=rocm:3".parse().unwrap();
    let said = Studio::start(config).await.unwrap_err().to_string();
    assert!(said.contains("rocm:3"), "{said}");
}

#[tokio::test]
async fn several_images_are_those_of_their_seeds_drawn_alone() {
    let server = Server::start().await;
    let user = server.browser().await;
    let mut both = small(STAR, 7);
    both["count"] = json!(2);
    let job = user.draw(&both).await;
    assert_eq!(job["images"].as_array().unwrap().len(), 2);
    assert_eq!(job["images"][1]["seed"], 8);
    let second = user.bytes(job["images"][1]["url"].as_str().unwrap()).await;
    assert!(pixels(&second).into_raw() == by_the_library(8, 2, 64));
}

#[tokio::test]
async fn the_stream_of_a_job_begins_with_a_snapshot_and_shows_steps_and_previews() {
    let server = Server::start().await;
    let user = server.browser().await;
    let request = json!({ "prompt": STAR, "seed": 3, "steps": 12, "width": 256, "height": 256 });
    let id = user.submit(&request).await;
    let stream = user.request(Method::GET, &format!("/api/v1/jobs/{id}/events")).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let events = events(&tokio::time::timeout(PATIENCE, stream.text()).await.unwrap().unwrap());
    assert_eq!(events[0].0, "snapshot");
    let (last, job) = events.last().unwrap();
    assert_eq!((last.as_str(), &job["status"]), ("completed", &json!("completed")));
    let steps: Vec<u64> = of(&events, "progress").filter_map(|progress| progress["step"].as_u64()).collect();
    assert!(steps.is_sorted() && steps.last() == Some(&12), "{steps:?}");
    assert_eq!(of(&events, "image").count(), 1);
    let previews: Vec<&Value> = of(&events, "preview").collect();
    let preview = pixels(&from_base64(previews.last().unwrap()["b64"].as_str().unwrap()));
    assert_eq!(preview.dimensions(), (32, 32));

    // It resembles the end.
    let end = pixels(&first_image(&user, job).await);
    let small = image::imageops::resize(&end, 32, 32, image::imageops::FilterType::Triangle);
    let difference: u64 = preview.as_raw().iter().zip(small.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    let mean = difference as f64 / preview.as_raw().len() as f64;
    assert!(mean < 40.0, "the last preview differs from the picture by {mean} levels in the mean");
}

#[tokio::test]
async fn a_job_that_has_ended_streams_its_end() {
    let server = Server::start().await;
    let user = server.browser().await;
    let job = user.draw(&small(STAR, 1)).await;
    let path = format!("/api/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let text = user.request(Method::GET, &path).send().await.unwrap().text().await.unwrap();
    let names: Vec<String> = events(&text).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["snapshot", "completed"]);
}

#[tokio::test]
async fn a_picture_is_a_start_and_a_mask_keeps_the_rest_to_the_bit() {
    let server = Server::start().await;
    let user = server.browser().await;
    let start = first_image(&user, &user.draw(&small(STAR, 7)).await).await;
    let mut request = small("a small red ring", 8);
    (request["image"], request["strength"]) = (json!(base64(&start)), json!(0.9));
    let whole = user.draw(&request).await;
    assert_eq!((&whole["kind"], &whole["request"]["strength"]), (&json!("img2img"), &json!(0.9)));
    assert!(first_image(&user, &whole).await != start);

    let mask = image::GrayImage::from_fn(64, 64, |x, _| image::Luma([if x < 32 { 255 } else { 0 }]));
    let mut png = std::io::Cursor::new(Vec::new());
    mask.write_to(&mut png, image::ImageFormat::Png).unwrap();
    request["mask"] = json!(format!("data:image/png;base64,{}", base64(png.get_ref())));
    let masked = user.draw(&request).await;
    assert_eq!(masked["kind"], "inpaint");
    let (before, after) = (pixels(&start), pixels(&first_image(&user, &masked).await));
    let same =
        |columns: std::ops::Range<u32>| (0..64).all(|y| columns.clone().all(|x| before.get_pixel(x, y) == after.get_pixel(x, y)));
    assert!(same(32..64) && !same(0..32));

    // What the job says its input was is an input again.
    let mut again = masked["request"].clone();
    again["seed"] = json!(9);
    let image = again["image"].as_str().unwrap().to_owned();
    assert!(image.starts_with("/api/v1/inputs/"), "{image}");
    assert!(user.bytes(&image).await == start);
    assert_eq!(user.draw(&again).await["kind"], "inpaint");
}

#[tokio::test]
async fn pictures_come_in_every_format() {
    let server = Server::start().await;
    let user = server.browser().await;
    for (format, expected, guessed) in [
        ("png", "image/png", image::ImageFormat::Png),
        ("jpeg", "image/jpeg", image::ImageFormat::Jpeg),
        ("webp", "image/webp", image::ImageFormat::WebP),
    ] {
        let mut request = small(STAR, 2);
        request["output_format"] = json!(format);
        let job = user.draw(&request).await;
        let url = job["images"][0]["url"].as_str().unwrap();
        let response = user.send(Method::GET, url, None).await;
        assert_eq!(response.headers()["content-type"], expected);
        let bytes = response.bytes().await.unwrap();
        assert_eq!(image::guess_format(&bytes).unwrap(), guessed);
        assert!(read_parameters(&bytes).unwrap().starts_with(STAR), "{format}");
    }
}

#[tokio::test]
async fn a_plan_tells_memory_and_time_and_queues_nothing() {
    let server = Server::start().await;
    let user = server.browser().await;
    let plan = |request: Value| {
        let user = user.clone();
        async move { user.send(Method::POST, "/api/v1/plan", Some(&request)).await.json::<Value>().await.unwrap() }
    };
    let before = plan(small(STAR, 1)).await;
    assert!(before["peak_resident"].as_u64().unwrap() > 1_000_000 && before["fits"] == true, "{before}");
    assert_eq!(before["eta_seconds"], Value::Null);
    user.draw(&small(STAR, 1)).await;
    assert!(plan(small(STAR, 2)).await["eta_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(user.get("/api/v1/history").await["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_lists_name_what_there_is() {
    let server = Server::start().await;
    let user = server.program();
    let models = user.get("/api/v1/models").await;
    assert_eq!((&models["default"], &models["models"][0]["defaults"]["steps"]), (&json!("mini-sd3"), &json!(20)));
    assert_eq!(models["models"][0]["side_multiple"], 16);
    let samplers = user.get("/api/v1/samplers").await;
    assert!(samplers["samplers"].as_array().unwrap().iter().any(|sampler| sampler["name"] == "dpmpp_2m"));
    let capabilities = user.get("/api/v1/capabilities").await;
    assert_eq!(capabilities["kinds"], json!(["txt2img", "img2img", "inpaint"]));
    let description = user.get("/openapi.json").await;
    assert!(description["paths"]["/api/v1/jobs"]["post"].is_object());
    assert_eq!(user.send(Method::HEAD, "/", None).await.status(), StatusCode::OK);
}

/// Names and data of events.
pub(crate) fn events(text: &str) -> Vec<(String, Value)> {
    let field = |block: &str, name: &str| block.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    let event = |block: &str| Some((field(block, "event:")?, serde_json::from_str(&field(block, "data:")?).unwrap()));
    text.split("\n\n").filter_map(event).collect()
}

fn of<'a>(events: &'a [(String, Value)], name: &'static str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |(found, _)| found == name).map(|(_, data)| data)
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn from_base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}
