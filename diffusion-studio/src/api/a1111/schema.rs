//! The bodies of requests, described.

use crate::api::foreign::schema::{FieldRow, Kind, body_schema};

const COMMON: &[FieldRow] = &[
    ("prompt", Kind::Text, "What the images show; <lora:NAME:WEIGHT> chooses a LoRA"),
    ("negative_prompt", Kind::Text, "What they do not show"),
    ("seed", Kind::Whole, "Seed of the first image; -1 lets the server choose"),
    ("sampler_name", Kind::Text, "A name of the list of samplers"),
    ("scheduler", Kind::Text, "A name of the list of schedulers"),
    ("batch_size", Kind::Whole, "Number of images"),
    ("n_iter", Kind::Whole, "A factor of that number"),
    ("steps", Kind::Whole, "Number of steps"),
    ("cfg_scale", Kind::Number, "How strictly to follow the prompt"),
    ("distilled_cfg_scale", Kind::Number, "The same, for models that take it as an input"),
    ("width", Kind::Whole, "Width in pixels"),
    ("height", Kind::Whole, "Height in pixels"),
    ("override_settings", Kind::Object, "sd_model_checkpoint chooses a model, samples_format png, jpg or webp"),
    ("lora", Kind::Objects, "LoRAs as {path, multiplier}"),
    ("send_images", Kind::Flag, "false leaves the images out of the answer"),
];

const INIT: &[FieldRow] = &[
    ("init_images", Kind::Texts, "An image to start from, in base64 or as a data URL"),
    ("mask", Kind::Text, "Which part of it to redraw: white is redrawn"),
    ("denoising_strength", Kind::Number, "How far to go from it, above 0 and at most 1"),
    ("mask_blur", Kind::Whole, "Pixels over which the edge of the mask rises"),
    ("inpainting_mask_invert", Kind::Whole, "1 redraws what is black"),
    ("include_init_images", Kind::Flag, "Whether the answer repeats the images"),
];

body_schema! {
    /// A request for `txt2img`.
    Txt2imgBody, [COMMON], &["prompt"]
}
body_schema! {
    /// A request for `img2img`.
    Img2imgBody, [COMMON, INIT], &["init_images"]
}
body_schema! {
    /// Options to change.
    OptionsBody, [&[("sd_model_checkpoint", Kind::Text, "The model to draw with from now on")]], &[]
}
body_schema! {
    /// A picture whose settings are read.
    PngInfoBody, [&[("image", Kind::Text, "A picture in base64 or as a data URL")]], &["image"]
}
