//! What clients ask for.

use diffusion_app::infotext::take_lora_tags;
use serde_json::Value;

use super::extra_args::take_extra_args;
use super::size::read_size;
use crate::api::foreign::fields::Fields;
use crate::refusal::Refusal;
use crate::registry::ModelEntry;
use crate::request::{JobRequest, LoraRequest, PictureFormat};
use crate::sampler_names::{sampler_named, schedule_named};

/// What clients ask for beside the picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// The model, by the name that the client has for it.
    pub(super) model: Option<String>,
    /// Whether the answer comes bit by bit.
    pub(super) streams: bool,
    /// Pictures on the way, if it does.
    pub(super) partial_images: usize,
    /// Whether pictures come as addresses.
    pub(super) wants_urls: bool,
    /// How good the picture is to be, in the words of the protocol.
    pub(super) quality: &'static str,
    fields: Fields,
}

impl Asked {
    /// Read all that does not depend on the model.
    ///
    /// # Errors
    /// [`Refusal`] naming the field.
    pub(super) fn read(mut fields: Fields) -> Result<Self, Refusal> {
        /// Most pictures on the way.
        const MOST_PARTIAL: usize = 3;
        take_extra_args(&mut fields)?;
        if fields.word("background")?.is_some_and(|background| background.eq_ignore_ascii_case("transparent")) {
            return Err(Refusal::invalid(
                "background",
                "pictures have no transparent parts here; leave it out, or ask for opaque",
            ));
        }
        let wants_urls = match fields.word("response_format")? {
            None | Some("b64_json") => false,
            Some("url") => true,
            Some(_) => return Err(Refusal::invalid("response_format", "expected b64_json or url")),
        };
        let partial_images = fields.whole("partial_images")?.unwrap_or_default();
        if partial_images > MOST_PARTIAL {
            return Err(Refusal::invalid("partial_images", format!("expected a whole number from 0 to {MOST_PARTIAL}")));
        }
        // Steps are asked for as such; the answer tells a quality that the protocol has.
        let quality = match fields.word("quality")? {
            Some("low") => "low",
            Some("high" | "hd" | "xhigh" | "max") => "high",
            _ => "medium",
        };
        Ok(Self {
            model: fields.word("model")?.map(str::to_owned),
            streams: fields.flag("stream")?,
            partial_images,
            wants_urls,
            quality,
            fields,
        })
    }

    /// What is drawn with a model.
    ///
    /// # Errors
    /// [`Refusal`] naming the field.
    pub(super) fn request(&self, model: &ModelEntry) -> Result<JobRequest, Refusal> {
        let fields = &self.fields;
        let size = read_size(fields.word("size")?, model.info.geometry.side_step())?;
        // Fields of our own for those who know of them; `size` counts before them.
        let (width, height) = size.unzip();
        let prompt = fields.text("prompt")?.unwrap_or_default();
        let (prompt, tags) = take_lora_tags(prompt).map_err(|error| Refusal::invalid("prompt", error.to_string()))?;
        let tags = tags.into_iter().map(|tag| LoraRequest { name: tag.name, weight: tag.weight });
        let listed =
            fields.list("loras")?.iter().enumerate().map(|(index, lora)| lora_of(index, lora)).collect::<Result<Vec<_>, _>>()?;
        let named =
            |field: &'static str| move |error: crate::sampler_names::UnknownName| Refusal::invalid(field, error.to_string());
        let sampler = fields.word("sampler")?.map(sampler_named).transpose().map_err(named("sampler"))?;
        let schedule = fields.word("scheduler")?.map(schedule_named).transpose().map_err(named("scheduler"))?;
        let (sampler, of_sampler) = sampler.unzip();
        let schedule = of_sampler.flatten().or(schedule.flatten());
        Ok(JobRequest {
            model: Some(model.name.clone()),
            prompt,
            negative_prompt: fields.text("negative_prompt")?.unwrap_or_default().to_owned(),
            width: width.or(fields.whole("width")?),
            height: height.or(fields.whole("height")?),
            steps: fields.whole("steps")?,
            guidance_scale: fields.number("guidance_scale")?,
            true_cfg_scale: fields.number("true_cfg_scale")?,
            sampler: sampler.map(|sampler| sampler.name().to_owned()),
            schedule: schedule.map(|schedule| schedule.name().to_owned()),
            seed: fields.seed("seed")?,
            count: fields.whole("n")?,
            loras: tags.chain(listed).collect(),
            strength: fields.number("strength")?,
            output_format: fields.word("output_format")?.map(picture_format).transpose()?,
            quality: fields.whole("output_compression")?.map(compression).transpose()?,
            ..JobRequest::default()
        })
    }

    /// The same, for a picture that needs a prompt.
    ///
    /// # Errors
    /// [`Refusal`] naming `prompt` if there is none.
    pub(super) fn with_prompt(self) -> Result<Self, Refusal> {
        match self.fields.text("prompt")? {
            Some(_) => Ok(self),
            None => Err(Refusal::invalid("prompt", "a prompt is needed")),
        }
    }
}

fn lora_of(index: usize, lora: &Value) -> Result<LoraRequest, Refusal> {
    let text = |name: &str| lora.get(name).and_then(Value::as_str);
    let name = text("name").or_else(|| text("path")).or(lora.as_str());
    let name = name.ok_or_else(|| Refusal::invalid(format!("loras[{index}].name"), "the name of a LoRA is needed"))?;
    let weight = ["scale", "weight", "multiplier"].iter().find_map(|name| lora.get(*name));
    let weight = weight.map_or(Some(1.0), Value::as_f64);
    let weight = weight.ok_or_else(|| Refusal::invalid(format!("loras[{index}].weight"), "expected a number"))?;
    Ok(LoraRequest { name: name.to_owned(), weight })
}

fn picture_format(name: &str) -> Result<PictureFormat, Refusal> {
    PictureFormat::named(name).ok_or_else(|| Refusal::invalid("output_format", "expected png, jpeg or webp"))
}

/// The quality of a JPEG, from 1 on; the protocol counts from 0.
fn compression(percent: usize) -> Result<u8, Refusal> {
    let quality = u8::try_from(percent).ok().filter(|&percent| percent <= 100);
    quality
        .map(|quality| quality.max(1))
        .ok_or_else(|| Refusal::invalid("output_compression", "expected a whole number from 0 to 100"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Asked, Refusal> {
        Asked::read(Fields::of_json(json.as_bytes()).unwrap())
    }

    #[test]
    fn fields_of_the_protocol_are_read_leniently() {
        let asked = read(
            r#"{"prompt":"x","stream":"true","partial_images":"2","quality":"hd","user":"me","moderation":"low","style":null}"#,
        );
        let asked = asked.unwrap();
        assert_eq!((asked.streams, asked.partial_images, asked.quality, asked.wants_urls), (true, 2, "high", false));
        assert!(read(r#"{"response_format":"url"}"#).unwrap().wants_urls);
        assert!(read("{}").unwrap().with_prompt().is_err());
        assert!(read(r#"{"prompt":""}"#).unwrap().with_prompt().is_ok());
    }

    #[test]
    fn what_cannot_be_names_its_field() {
        let cases = [
            (r#"{"background":"transparent"}"#, "background"),
            (r#"{"response_format":"file"}"#, "response_format"),
            (r#"{"partial_images":4}"#, "partial_images"),
            (r#"{"stream":"perhaps"}"#, "stream"),
            (r#"{"model":3}"#, "model"),
        ];
        for (json, field) in cases {
            assert_eq!(read(json).unwrap_err().field.as_deref(), Some(field), "{json}");
        }
        assert_eq!(compression(0), Ok(1));
        assert!(compression(101).is_err() && picture_format("gif").is_err());
    }

    #[test]
    fn loras_have_names_and_scales() {
        let lora = |json: &str| lora_of(1, &serde_json::from_str(json).unwrap());
        let ink = |weight| Ok(LoraRequest { name: "ink".to_owned(), weight });
        assert_eq!(lora(r#"{"name":"ink","scale":0.5}"#), ink(0.5));
        assert_eq!(lora(r#"{"path":"ink","multiplier":2}"#), ink(2.0));
        assert_eq!(lora(r#""ink""#), ink(1.0));
        assert_eq!(lora(r#"{"scale":1}"#).unwrap_err().field.as_deref(), Some("loras[1].name"));
        assert_eq!(lora(r#"{"name":"ink","scale":"x"}"#).unwrap_err().field.as_deref(), Some("loras[1].weight"));
    }
}
