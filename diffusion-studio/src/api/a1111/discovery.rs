//! What there is to choose from.

use axum::Json;
use axum::extract::State;
use diffusion_app::device::DeviceName;
use diffusion_app::memory::{available_memory, total_memory};
use diffusion_schedulers::kind::{SamplerKind, ScheduleKind};
use serde_json::{Map, Value, json};

use super::state::A1111;
use crate::sampler_names::{AUTOMATIC, sampler_aliases, sampler_label, schedule_aliases, schedule_label};

/// The models.
#[utoipa::path(get, path = "/sd-models", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn models(State(a1111): State<A1111>) -> Json<Value> {
    let models = a1111.studio.registry().models().iter();
    // Where files lie is nobody's business, and names are what the server takes.
    let list = models.map(|model| {
        let (name, hash) = (&model.name, model.short_hash());
        json!({ "title": name, "model_name": name, "hash": hash, "sha256": null, "filename": name, "config": null })
    });
    Json(list.collect())
}

/// The samplers, by what people call them.
#[utoipa::path(get, path = "/samplers", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn samplers() -> Json<Value> {
    let list = SamplerKind::ALL.iter().map(|&kind| {
        let aliases: Vec<&str> = sampler_aliases(kind).collect();
        json!({ "name": sampler_label(kind), "aliases": aliases, "options": {} })
    });
    Json(list.collect())
}

/// The schedules. The model's own is the first.
#[utoipa::path(get, path = "/schedulers", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn schedulers() -> Json<Value> {
    let kinds = std::iter::once(None).chain(ScheduleKind::ALL.iter().copied().map(Some));
    let list = kinds.map(|kind| {
        json!({
            "name": kind.map_or(AUTOMATIC, ScheduleKind::name),
            "label": schedule_label(kind),
            "aliases": schedule_aliases(kind),
            "default_rho": -1.0,
            "need_inner_model": false,
        })
    });
    Json(list.collect())
}

/// Ways to enlarge pictures: clients want the list, and these are no ways.
pub(super) async fn upscalers() -> Json<Value> {
    let list = ["None", "Lanczos", "Nearest"].map(|name| {
        json!({ "name": name, "model_name": null, "model_path": null, "model_url": null, "scale": if name == "None" { 1 } else { 4 } })
    });
    Json(list.into_iter().collect())
}

/// The LoRAs that can be read.
#[utoipa::path(get, path = "/loras", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn loras(State(a1111): State<A1111>) -> Json<Value> {
    let loras = a1111.studio.registry().loras.all();
    let readable = loras.iter().filter(|lora| lora.lora().is_ok());
    let list =
        readable.map(|lora| json!({ "name": lora.name, "alias": lora.name, "path": lora.name, "metadata": lora.metadata }));
    Json(list.collect())
}

/// Memory in bytes. Of devices other than the CPU, nothing is told.
#[utoipa::path(get, path = "/memory", tag = "a1111", responses((status = 200, body = Value)))]
pub(super) async fn memory(State(a1111): State<A1111>) -> Json<Value> {
    let (device, studio) = (a1111.studio.config().device, &a1111.studio);
    let read = move || (total_memory(), available_memory(DeviceName::Cpu), available_memory(device));
    let (total, free, device_free) = studio.blocking(read).await.unwrap_or_default();
    let total = total.unwrap_or_default();
    let free = free.unwrap_or_default().min(total);
    let cuda = match device_free.filter(|_| device != DeviceName::Cpu) {
        Some(free) => json!({ "system": { "free": free } }),
        None => json!({ "error": "unavailable" }),
    };
    Json(json!({ "ram": { "free": free, "used": total - free, "total": total }, "cuda": cuda }))
}

/// Nothing of this kind.
pub(super) async fn empty_list() -> Json<Value> {
    Json(Value::Array(Vec::new()))
}

/// Nothing to say.
pub(super) async fn empty_object() -> Json<Value> {
    Json(Value::Object(Map::new()))
}

/// There are no embeddings.
pub(super) async fn embeddings() -> Json<Value> {
    Json(json!({ "loaded": {}, "skipped": {} }))
}

/// There are no scripts.
pub(super) async fn scripts() -> Json<Value> {
    Json(json!({ "txt2img": [], "img2img": [] }))
}
