//! Settings that are hidden in a prompt, for clients that can send nothing else:
//! `<sd_cpp_extra_args>{"seed": 1}</sd_cpp_extra_args>`.
//!
//! Reference: stable-diffusion.cpp `examples/server/api.md`.

use serde_json::{Map, Value};

use crate::api::foreign::fields::Fields;
use crate::refusal::Refusal;

const START: &str = "<sd_cpp_extra_args>";
const END: &str = "</sd_cpp_extra_args>";

/// Names of stable-diffusion.cpp by what they are called here.
const NAMES: [(&str, &str); 9] = [
    ("sample_steps", "steps"),
    ("cfg_scale", "guidance_scale"),
    ("txt_cfg", "guidance_scale"),
    ("distilled_guidance", "guidance_scale"),
    ("sample_method", "sampler"),
    ("sampler_name", "sampler"),
    ("schedule", "scheduler"),
    ("batch_count", "n"),
    ("lora", "loras"),
];

/// Take the settings out of the prompt, and set them as fields of the request.
///
/// # Errors
/// [`Refusal`] naming `prompt` if they are no object of JSON.
pub(super) fn take_extra_args(fields: &mut Fields) -> Result<(), Refusal> {
    let prompt = fields.text("prompt")?.unwrap_or_default().to_owned();
    let Some((before, after)) = prompt.split_once(START) else { return Ok(()) };
    let expected = || Refusal::invalid("prompt", format!("between {START} and {END}, an object of JSON is expected"));
    let (json, after) = after.split_once(END).ok_or_else(expected)?;
    let settings: Map<String, Value> = serde_json::from_str(json).map_err(|_| expected())?;
    fields.set("prompt", format!("{}{after}", before.trim_end()).trim().into());
    set_all(fields, settings);
    Ok(())
}

fn set_all(fields: &mut Fields, settings: Map<String, Value>) {
    /// Fields of these groups are set as others are.
    const GROUPS: [&str; 2] = ["sample_params", "guidance"];
    for (name, value) in settings {
        match value {
            Value::Object(group) if GROUPS.contains(&name.as_str()) => set_all(fields, group),
            // A prompt in a prompt would have no end.
            _ if name == "prompt" => {}
            value => {
                let ours = NAMES.iter().find(|(theirs, _)| *theirs == name).map_or(name.as_str(), |(_, ours)| ours);
                fields.set(ours, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(prompt: &str) -> Result<Value, Refusal> {
        let mut fields = Fields::default();
        fields.set("prompt", prompt.into());
        take_extra_args(&mut fields).map(|()| fields.into_value())
    }

    #[test]
    fn settings_leave_the_prompt() {
        let fields = taken(
            r#"a ring <sd_cpp_extra_args>{"seed":7,"sample_params":{"sample_steps":9,"guidance":{"txt_cfg":2}},"prompt":"x"}</sd_cpp_extra_args>"#,
        );
        assert_eq!(fields, Ok(serde_json::json!({ "prompt": "a ring", "seed": 7, "steps": 9, "guidance_scale": 2 })));
        assert_eq!(taken("a ring"), Ok(serde_json::json!({ "prompt": "a ring" })));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for prompt in
            ["<sd_cpp_extra_args>{}", "<sd_cpp_extra_args>[]</sd_cpp_extra_args>", "<sd_cpp_extra_args>{</sd_cpp_extra_args>"]
        {
            assert_eq!(taken(prompt).unwrap_err().field.as_deref(), Some("prompt"), "{prompt}");
        }
    }
}
