//! The settings in a picture.

use axum::Json;
use axum::extract::State;
use diffusion_app::image_file::read_parameters;
use diffusion_app::infotext::Infotext;
use serde_json::{Map, Value, json};

use super::error::{SdError, SdErrorBody};
use super::schema::PngInfoBody;
use super::state::A1111;
use crate::api::foreign::body::{Body, fields_of};
use crate::refusal::Refusal;
use crate::request::decode_picture;

/// The settings in a picture, as a text and field by field.
#[utoipa::path(post, path = "/png-info", tag = "a1111", request_body = PngInfoBody,
    responses((status = 200, body = Value), (status = 413, body = SdErrorBody), (status = 422, body = SdErrorBody)))]
pub(super) async fn png_info(State(a1111): State<A1111>, body: Body) -> Result<Json<Value>, SdError> {
    let fields = fields_of(body)?;
    let image = fields.word("image")?.ok_or_else(|| Refusal::invalid("image", "a picture in base64 is needed"))?.to_owned();
    let read = move || decode_picture("image", &image).map(|bytes| read_parameters(&bytes));
    let text = a1111.studio.blocking(read).await??;
    let items = text.iter().map(|text| ("parameters".to_owned(), Value::from(text.as_str()))).collect::<Map<_, _>>();
    let parameters = text.as_deref().map(parameters).unwrap_or_default();
    Ok(Json(json!({ "info": text.unwrap_or_default(), "items": items, "parameters": parameters })))
}

/// The fields by the names that the protocol has for them, all as texts.
fn parameters(text: &str) -> Map<String, Value> {
    let Ok(infotext) = text.parse::<Infotext>();
    let mut parameters = Map::new();
    parameters.insert("Prompt".to_owned(), infotext.prompt.as_str().into());
    parameters.insert("Negative prompt".to_owned(), infotext.negative_prompt.as_str().into());
    for (key, value) in infotext.fields() {
        match (key, infotext.size) {
            ("Size", Some((width, height))) => {
                parameters.insert("Size-1".to_owned(), width.to_string().into());
                parameters.insert("Size-2".to_owned(), height.to_string().into());
            }
            _ => {
                parameters.insert(key.to_owned(), value.into());
            }
        }
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_of_the_protocol() {
        let found = parameters("a ring\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Size: 512x768, Mood: calm");
        let expected = json!({
            "Prompt": "a ring", "Negative prompt": "blurry", "Steps": "20", "Sampler": "Euler a", "Size-1": "512", "Size-2": "768",
            "Mood": "calm",
        });
        assert_eq!(Value::Object(found), expected);
    }
}
