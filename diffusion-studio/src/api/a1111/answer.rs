//! What `txt2img` and `img2img` answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diffusion_app::image_file::read_parameters;
use diffusion_models::GuidanceKind;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::foreign::fields::Fields;
use crate::api::foreign::waited::Picture;
use crate::jobs::{Job, JobState, LiveJob, Status};
use crate::registry::ModelEntry;
use crate::request::Drawing;
use crate::sampler_names::{sampler_label, schedule_label};

/// What `txt2img` and `img2img` answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SdAnswer)]
pub(super) struct Answer {
    /// The images in base64.
    images: Vec<String>,
    /// The request.
    parameters: Value,
    /// JSON in a text, with everything about the images.
    info: String,
}

impl Answer {
    pub(super) fn new(
        job: &LiveJob,
        state: &JobState,
        model: Option<&ModelEntry>,
        notes: Vec<String>,
        parameters: Fields,
        pictures: &[Picture],
    ) -> Self {
        let infotexts = pictures.iter().map(|picture| read_parameters(&picture.bytes).unwrap_or_default()).collect();
        let mut warnings = [notes, state.warnings.clone()].concat();
        if state.status == Status::Cancelled {
            warnings.push("the job was interrupted; these are the images that were finished before".to_owned());
        }
        Self {
            images: pictures.iter().map(|picture| STANDARD.encode(&picture.bytes)).collect(),
            parameters: parameters.into_value(),
            info: info(&job.job, model, infotexts, &warnings).to_string(),
        }
    }

    /// The answer, without images if they are not wanted.
    pub(super) fn showing(self, images: bool) -> Self {
        if images { self } else { Self { images: Vec::new(), ..self } }
    }
}

/// All keys that AUTOMATIC1111 writes, and `warnings` beside them.
fn info(job: &Job, model: Option<&ModelEntry>, infotexts: Vec<String>, warnings: &[String]) -> Value {
    let Drawing { prompt, negative_prompt, settings, seeds, init, .. } = &job.drawing;
    // There may be fewer images than were asked for, and then the first ones.
    let seeds = &seeds[..infotexts.len().min(seeds.len())];
    let all = |text: &str| vec![text.to_owned(); seeds.len()];
    let is_distilled = model.is_some_and(|model| model.info.guidance == GuidanceKind::Distilled);
    let cfg_scale = settings.distilled_guidance.filter(|_| is_distilled).unwrap_or(settings.guidance_scale);
    json!({
        "prompt": prompt,
        "all_prompts": all(prompt),
        "negative_prompt": negative_prompt,
        "all_negative_prompts": all(negative_prompt),
        "seed": seeds.first(),
        "all_seeds": seeds,
        // Seeds are not mixed; these are the values that say so.
        "subseed": seeds.first(),
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": settings.width,
        "height": settings.height,
        "sampler_name": sampler_label(settings.sampler),
        "cfg_scale": cfg_scale,
        "steps": settings.num_steps,
        "batch_size": seeds.len(),
        "restore_faces": false,
        "face_restoration_model": null,
        "sd_model_name": job.drawing.model,
        "sd_model_hash": model.map(ModelEntry::short_hash),
        "sd_vae_name": null,
        "sd_vae_hash": null,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": init.as_ref().map(|init| init.strength),
        "extra_generation_params": { "Schedule type": schedule_label(settings.schedule) },
        "index_of_first_image": 0,
        "infotexts": infotexts,
        "styles": [],
        "job_timestamp": timestamp(job.queued_at),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": false,
        "version": env!("CARGO_PKG_VERSION"),
        "warnings": warnings,
    })
}

/// A time as `20261125180000`, in UTC.
pub(super) fn timestamp(seconds_since_1970: f64) -> String {
    let seconds = seconds_since_1970.max(0.0) as i64;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// The date of a day, counted from 1970, in the Gregorian calendar.
///
/// Reference: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn date(days: i64) -> (i64, i64, i64) {
    /// Days from the first of March of the year 0 to 1970.
    const TO_1970: i64 = 719_468;
    const DAYS_OF_ERA: i64 = 146_097;
    let (era, day) = ((days + TO_1970).div_euclid(DAYS_OF_ERA), (days + TO_1970).rem_euclid(DAYS_OF_ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_protocol_has_them() {
        assert_eq!(timestamp(0.0), "19700101000000");
        assert_eq!(timestamp(951_782_400.9), "20000229000000");
        assert_eq!(timestamp(1_764_093_661.0), "20251125180101");
        assert_eq!(timestamp(4_107_542_399.0), "21000228235959");
        assert_eq!(timestamp(4_107_542_400.0), "21000301000000");
    }
}
