//! The bodies of requests, described.

use crate::api::foreign::schema::{FieldRow, Kind, body_schema};

const COMMON: &[FieldRow] = &[
    ("prompt", Kind::Text, "What the images show; <lora:NAME:WEIGHT> chooses a LoRA"),
    ("model", Kind::Text, "A name of the list of models; names that clients have built in stand for the default one"),
    ("n", Kind::Whole, "Number of images"),
    ("size", Kind::Text, "WIDTHxHEIGHT, or auto"),
    ("output_format", Kind::Text, "png, jpeg or webp"),
    ("output_compression", Kind::Whole, "Quality of a JPEG, from 0 to 100"),
    ("response_format", Kind::Text, "b64_json or url"),
    ("stream", Kind::Flag, "Whether events are sent on the way"),
    ("partial_images", Kind::Whole, "Pictures on the way, from 0 to 3"),
    ("negative_prompt", Kind::Text, "Beyond the protocol: what the images do not show"),
    ("seed", Kind::Whole, "Beyond the protocol: seed of the first image"),
    ("steps", Kind::Whole, "Beyond the protocol: number of steps"),
    ("guidance_scale", Kind::Number, "Beyond the protocol: how strictly to follow the prompt"),
    ("sampler", Kind::Text, "Beyond the protocol: name of the sampler"),
    ("scheduler", Kind::Text, "Beyond the protocol: name of the noise schedule"),
    ("loras", Kind::Objects, "Beyond the protocol: LoRAs as {name, scale}"),
    ("strength", Kind::Number, "Beyond the protocol: how far to go from an image, above 0 and at most 1"),
];

const IMAGE: &[FieldRow] = &[("image", Kind::File, "The image to start from")];
const MASK: &[FieldRow] = &[("mask", Kind::File, "A PNG of the same size, transparent where the image is redrawn")];

body_schema! {
    /// A request for images of a prompt.
    GenerationBody, [COMMON], &["prompt"]
}
body_schema! {
    /// A request for an image changed as a prompt says.
    EditBody, [COMMON, IMAGE, MASK], &["prompt", "image"]
}
body_schema! {
    /// A request for images that resemble another one.
    VariationBody, [COMMON, IMAGE], &["image"]
}
