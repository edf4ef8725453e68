//! What clients ask for.

use crate::api::foreign::fields::Fields;
use crate::refusal::Refusal;
use serde_json::Value;

/// The fields of `txt2img` and `img2img` that mean something here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Asked {
    pub(super) prompt: String,
    pub(super) negative_prompt: String,
    pub(super) styles: Vec<Value>,
    pub(super) seed: Option<u64>,
    pub(super) subseed_strength: f64,
    pub(super) sampler: Option<String>,
    pub(super) scheduler: Option<String>,
    pub(super) batch_size: usize,
    pub(super) n_iter: usize,
    pub(super) steps: Option<usize>,
    pub(super) cfg_scale: Option<f64>,
    pub(super) distilled_cfg_scale: Option<f64>,
    pub(super) width: Option<usize>,
    pub(super) height: Option<usize>,
    pub(super) denoising_strength: Option<f64>,
    pub(super) restore_faces: bool,
    pub(super) tiling: bool,
    pub(super) refiner: Option<String>,
    pub(super) clip_skip: usize,
    pub(super) model: Option<String>,
    pub(super) vae: Option<String>,
    pub(super) samples_format: Option<String>,
    pub(super) loras: Vec<Value>,
    pub(super) sends_images: bool,
    pub(super) init: Option<AskedInit>,
}

/// The fields of `img2img` that `txt2img` does not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AskedInit {
    pub(super) image: String,
    pub(super) mask: Option<String>,
    pub(super) resize_mode: usize,
    pub(super) mask_blur: usize,
    pub(super) inpainting_fill: Option<usize>,
    pub(super) inpaint_full_res: bool,
    pub(super) is_mask_inverted: bool,
    pub(super) is_echoed: bool,
}

impl Asked {
    /// Read what is common to both endpoints, and refuse what would change the picture and is not there.
    ///
    /// # Errors
    /// [`Refusal`] naming the field.
    pub(super) fn read(fields: &Fields) -> Result<Self, Refusal> {
        refuse_what_is_not_here(fields)?;
        let owned = |name: &str| Ok::<_, Refusal>(fields.word(name)?.map(str::to_owned));
        let settings = fields.object("override_settings")?;
        let setting = |name: &str| match settings.word(name) {
            Ok(word) => Ok(word.map(str::to_owned)),
            Err(refusal) => Err(refusal.at(format!("override_settings.{name}"))),
        };
        let from_settings = settings.whole("CLIP_stop_at_last_layers");
        let from_settings = from_settings.map_err(|refusal| refusal.at("override_settings.CLIP_stop_at_last_layers"))?;
        Ok(Self {
            prompt: fields.text("prompt")?.unwrap_or_default().to_owned(),
            negative_prompt: fields.text("negative_prompt")?.unwrap_or_default().to_owned(),
            styles: fields.list("styles")?.into_owned(),
            seed: fields.seed("seed")?,
            subseed_strength: fields.number("subseed_strength")?.unwrap_or_default(),
            // The second is the old spelling of the first.
            sampler: owned("sampler_name")?.or(owned("sampler_index")?),
            scheduler: owned("scheduler")?,
            batch_size: fields.whole("batch_size")?.unwrap_or(1),
            n_iter: fields.whole("n_iter")?.unwrap_or(1),
            steps: fields.whole("steps")?,
            cfg_scale: fields.number("cfg_scale")?,
            distilled_cfg_scale: fields.number("distilled_cfg_scale")?,
            width: fields.whole("width")?,
            height: fields.whole("height")?,
            denoising_strength: fields.number("denoising_strength")?,
            restore_faces: fields.flag("restore_faces")?,
            tiling: fields.flag("tiling")?,
            refiner: owned("refiner_checkpoint")?.filter(|name| !name.eq_ignore_ascii_case("none")),
            clip_skip: fields.whole("clip_skip")?.or(from_settings).unwrap_or(1),
            model: setting("sd_model_checkpoint")?,
            vae: setting("sd_vae")?,
            samples_format: setting("samples_format")?,
            loras: fields.list("lora")?.into_owned(),
            sends_images: fields.value("send_images").is_none() || fields.flag("send_images")?,
            init: None,
        })
    }

    /// Read all of a request for `img2img`.
    ///
    /// # Errors
    /// [`Refusal`] naming the field.
    pub(super) fn read_with_image(fields: &Fields) -> Result<Self, Refusal> {
        /// Pixels over which AUTOMATIC1111 blurs masks.
        const MASK_BLUR: usize = 4;
        let images = fields.list("init_images")?;
        let image = match &*images {
            [Value::String(image)] => image.clone(),
            [_] => return Err(Refusal::invalid("init_images", "expected a list of texts in base64")),
            [] => return Err(Refusal::invalid("init_images", "an image to start from is needed")),
            _ => return Err(Refusal::invalid("init_images", "one image is taken at a time; send a request for each")),
        };
        let blurs = [fields.whole("mask_blur_x")?, fields.whole("mask_blur_y")?];
        let init = AskedInit {
            image,
            mask: fields.word("mask")?.map(str::to_owned),
            resize_mode: fields.whole("resize_mode")?.unwrap_or_default(),
            mask_blur: fields.whole("mask_blur")?.or(blurs.into_iter().flatten().max()).unwrap_or(MASK_BLUR),
            inpainting_fill: fields.whole("inpainting_fill")?,
            inpaint_full_res: fields.flag("inpaint_full_res")?,
            is_mask_inverted: fields.flag("inpainting_mask_invert")?,
            is_echoed: fields.flag("include_init_images")?,
        };
        Ok(Self { init: Some(init), ..Self::read(fields)? })
    }
}

/// What would change the picture, and is not there.
fn refuse_what_is_not_here(fields: &Fields) -> Result<(), Refusal> {
    if fields.flag("enable_hr")? {
        let message = "there is no second pass at a higher resolution; draw at the size that is wanted, or use img2img";
        return Err(Refusal::invalid("enable_hr", message));
    }
    if let Some(script) = fields.word("script_name")?.filter(|name| !name.eq_ignore_ascii_case("none")) {
        return Err(Refusal::invalid("script_name", format!("there is no script {:?}; there are none", shown(script))));
    }
    if let Some(script) = fields.object("alwayson_scripts")?.names().next() {
        let message = format!("there is no script {:?} that is always on; there are none", shown(script));
        return Err(Refusal::invalid("alwayson_scripts", message));
    }
    Ok(())
}

/// A name as an error shows it: not longer than names are.
pub(super) fn shown(name: &str) -> String {
    const ENOUGH: usize = 80;
    name.chars().take(ENOUGH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::of_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_absent_or_unknown_is_left_to_the_model() {
        let asked =
            Asked::read(&fields(r#"{"prompt":"a ring","url":"http://x","auth":"","seed":-1,"sampler_name":""}"#)).unwrap();
        let expected =
            Asked { prompt: "a ring".to_owned(), batch_size: 1, n_iter: 1, clip_skip: 1, sends_images: true, ..Asked::default() };
        assert_eq!(asked, expected);
    }

    #[test]
    fn what_is_not_here_is_refused_by_name() {
        let cases = [
            (r#"{"enable_hr":true}"#, "enable_hr"),
            (r#"{"script_name":"x/y/z plot"}"#, "script_name"),
            (r#"{"alwayson_scripts":{"ADetailer":{"args":[]}}}"#, "alwayson_scripts"),
            (r#"{"steps":"many"}"#, "steps"),
            (r#"{"override_settings":{"sd_vae":3}}"#, "override_settings.sd_vae"),
            (r#"{"override_settings":{"CLIP_stop_at_last_layers":"x"}}"#, "override_settings.CLIP_stop_at_last_layers"),
        ];
        for (json, field) in cases {
            assert_eq!(Asked::read(&fields(json)).unwrap_err().field.as_deref(), Some(field));
        }
        assert!(Asked::read(&fields(r#"{"enable_hr":false,"script_name":null,"alwayson_scripts":{}}"#)).is_ok());
    }

    #[test]
    fn one_image_is_needed() {
        for json in
            ["{}", r#"{"init_images":[]}"#, r#"{"init_images":["a","b"]}"#, r#"{"init_images":[3]}"#, r#"{"init_images":"a"}"#]
        {
            assert_eq!(Asked::read_with_image(&fields(json)).unwrap_err().field.as_deref(), Some("init_images"), "{json}");
        }
        let asked = Asked::read_with_image(&fields(r#"{"init_images":["a"],"mask_blur_x":2,"mask_blur_y":6}"#)).unwrap();
        assert_eq!(asked.init, Some(AskedInit { image: "a".to_owned(), mask_blur: 6, ..AskedInit::default() }));
    }
}
