//! Prompt and settings as a text, in the form that AUTOMATIC1111's web interface introduced and many programs write into
//! pictures and read from them.
//!
//! ```
//! use diffusion_app::infotext::Infotext;
//!
//! let text = "a red ring\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 4.5, Seed: 1, Size: 512x768";
//! let Ok(infotext) = text.parse::<Infotext>();
//! assert_eq!(infotext.prompt, "a red ring");
//! assert_eq!(infotext.size, Some((512, 768)));
//! assert_eq!(infotext.to_string(), text);
//! ```
//!
//! Reference: `modules/infotext_utils.py` and `create_infotext` in `modules/processing.py` of stable-diffusion-webui.

mod fields;
mod lora_tags;

use std::convert::Infallible;
use std::fmt::{self, Display};
use std::str::FromStr;

use fields::{read_fields, write_field};
pub use lora_tags::{LoraTag, LoraTagError, take_lora_tags};

/// What a picture was drawn from.
///
/// [`Display`] writes the text and [`FromStr`] reads it; what is written is read again as it was, with the limits of the form:
/// no line of the prompt may begin with `Negative prompt:`, a text without [`steps`](Self::steps) needs three fields to be told from
/// a prompt, and ends of lines are `\n`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Infotext {
    /// The prompt, with `<lora:NAME:WEIGHT>` for each LoRA.
    pub prompt: String,
    /// What the picture is not to show; may be empty.
    pub negative_prompt: String,
    /// Number of steps.
    pub steps: Option<usize>,
    /// The sampler, as the program calls it.
    pub sampler: Option<String>,
    /// The schedule of noise levels, as the program calls it.
    pub schedule_type: Option<String>,
    /// Scale of classifier-free guidance.
    pub cfg_scale: Option<f64>,
    /// Guidance as an input of the network, as Forge calls it.
    pub distilled_cfg_scale: Option<f64>,
    /// Seed of the noise.
    pub seed: Option<u64>,
    /// Width and height in pixels.
    pub size: Option<(usize, usize)>,
    /// Start of the hash of the model's file.
    pub model_hash: Option<String>,
    /// Name of the model.
    pub model: Option<String>,
    /// Share of the noise that image-to-image starts with, in \[0, 1\].
    pub denoising_strength: Option<f64>,
    /// The layer of CLIP, from the end, whose output counts.
    pub clip_skip: Option<u32>,
    /// What else is said, in its order. Keys consist of at least two letters, digits, spaces, `_`, `-` and `/`.
    pub others: Vec<(String, String)>,
    /// Names of LoRAs with hashes of their files. Commas and colons are left out of what is written.
    pub lora_hashes: Vec<(String, String)>,
    /// Version of the program.
    pub version: Option<String>,
}

const NEGATIVE_PROMPT: &str = "Negative prompt:";
const STEPS: &str = "Steps";
const SAMPLER: &str = "Sampler";
const SCHEDULE_TYPE: &str = "Schedule type";
const CFG_SCALE: &str = "CFG scale";
const DISTILLED_CFG_SCALE: &str = "Distilled CFG Scale";
const SEED: &str = "Seed";
const SIZE: &str = "Size";
const MODEL_HASH: &str = "Model hash";
const MODEL: &str = "Model";
const DENOISING_STRENGTH: &str = "Denoising strength";
const CLIP_SKIP: &str = "Clip skip";
const LORA_HASHES: &str = "Lora hashes";
const VERSION: &str = "Version";

impl Display for Infotext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prompt)?;
        if !self.negative_prompt.is_empty() {
            write!(f, "\n{NEGATIVE_PROMPT} {}", self.negative_prompt)?;
        }
        let mut separator = "\n";
        for (key, value) in self.fields() {
            f.write_str(separator)?;
            write_field(f, key, &value)?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Infotext {
    /// All that follows the prompts, in the order of AUTOMATIC1111.
    pub fn fields(&self) -> impl Iterator<Item = (&str, String)> {
        fn shown<T: ToString>(value: Option<&T>) -> Option<String> {
            value.map(T::to_string)
        }
        let hash_of = |(name, hash): &(String, String)| format!("{}: {}", plain(name), plain(hash));
        let lora_hashes = self.lora_hashes.iter().map(hash_of).collect::<Vec<_>>().join(", ");
        let first = [
            (STEPS, shown(self.steps.as_ref())),
            (SAMPLER, self.sampler.clone()),
            (SCHEDULE_TYPE, self.schedule_type.clone()),
            (CFG_SCALE, shown(self.cfg_scale.as_ref())),
            (DISTILLED_CFG_SCALE, shown(self.distilled_cfg_scale.as_ref())),
            (SEED, shown(self.seed.as_ref())),
            (SIZE, self.size.map(|(width, height)| format!("{width}x{height}"))),
            (MODEL_HASH, self.model_hash.clone()),
            (MODEL, self.model.clone()),
            (DENOISING_STRENGTH, shown(self.denoising_strength.as_ref())),
            (CLIP_SKIP, shown(self.clip_skip.as_ref())),
        ];
        let others = self.others.iter().map(|(key, value)| (key.as_str(), Some(value.clone())));
        let last = [(LORA_HASHES, Some(lora_hashes).filter(|hashes| !hashes.is_empty())), (VERSION, self.version.clone())];
        first.into_iter().chain(others).chain(last).filter_map(|(key, value)| Some((key, value?)))
    }

    /// Keep a field that was read. What has another form than ours, or comes twice, is kept as it is among the others.
    fn take(&mut self, key: &str, value: String) {
        let kept = match key {
            STEPS => set(&mut self.steps, value.parse().ok()),
            SAMPLER => set(&mut self.sampler, Some(value.clone())),
            SCHEDULE_TYPE => set(&mut self.schedule_type, Some(value.clone())),
            CFG_SCALE => set(&mut self.cfg_scale, finite(&value)),
            DISTILLED_CFG_SCALE => set(&mut self.distilled_cfg_scale, finite(&value)),
            SEED => set(&mut self.seed, value.parse().ok()),
            SIZE => set(&mut self.size, size(&value)),
            MODEL_HASH => set(&mut self.model_hash, Some(value.clone())),
            MODEL => set(&mut self.model, Some(value.clone())),
            DENOISING_STRENGTH => set(&mut self.denoising_strength, finite(&value)),
            CLIP_SKIP => set(&mut self.clip_skip, value.parse().ok()),
            LORA_HASHES if self.lora_hashes.is_empty() => lora_hashes(&value).map(|hashes| self.lora_hashes = hashes).is_some(),
            VERSION => set(&mut self.version, Some(value.clone())),
            _ => false,
        };
        if !kept {
            self.others.push((key.to_owned(), value));
        }
    }
}

impl FromStr for Infotext {
    type Err = Infallible;

    /// Any text is one: where there are no settings, all of it is the prompt.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        /// So many fields make a line one of settings.
        const ENOUGH: usize = 3;
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let settings_start = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let settings = &text[settings_start..];
        let fields = read_fields(settings);
        let is_settings = fields.len() >= ENOUGH || fields.first().is_some_and(|(key, _)| *key == STEPS);
        let prompts = if is_settings { text[..settings_start].strip_suffix('\n').unwrap_or_default() } else { &text };

        let (prompt, negative) = split_prompts(prompts);
        let mut infotext =
            Self { prompt: prompt.to_owned(), negative_prompt: negative.unwrap_or_default().to_owned(), ..Self::default() };
        if is_settings {
            for (key, value) in fields {
                infotext.take(key, value);
            }
        }
        Ok(infotext)
    }
}

/// The prompt and the negative one, which begins in a line of its own.
fn split_prompts(text: &str) -> (&str, Option<&str>) {
    let mut starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    match starts.find(|&start| text[start..].starts_with(NEGATIVE_PROMPT)) {
        None => (text, None),
        Some(start) => {
            let negative = &text[start + NEGATIVE_PROMPT.len()..];
            (&text[..start.saturating_sub(1)], Some(negative.strip_prefix(' ').unwrap_or(negative)))
        }
    }
}

/// Whether the value was there and its place was free.
fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let is_free = place.is_none() && value.is_some();
    if is_free {
        *place = value;
    }
    is_free
}

fn finite(value: &str) -> Option<f64> {
    value.parse().ok().filter(|number: &f64| number.is_finite())
}

fn size(value: &str) -> Option<(usize, usize)> {
    let (width, height) = value.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// Pairs of `name: hash`, if it is nothing but such pairs.
fn lora_hashes(value: &str) -> Option<Vec<(String, String)>> {
    let pair = |text: &str| {
        let (name, hash) = text.split_once(": ").filter(|(_, hash)| !hash.contains(':'))?;
        Some((name.trim().to_owned(), hash.trim().to_owned()))
    };
    value.split(',').map(str::trim).filter(|text| !text.is_empty()).map(pair).collect()
}

/// Without what separates pairs of hashes, as AUTOMATIC1111 has it.
fn plain(text: &str) -> String {
    text.chars().filter(|&c| c != ':' && c != ',').collect()
}

#[cfg(test)]
mod tests;
