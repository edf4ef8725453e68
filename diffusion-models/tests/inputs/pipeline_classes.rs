//! Which pipelines of diffusers a folder may be of.

use super::{Folder, assert_says};

#[test]
fn pipelines_with_the_components_of_the_model_open() {
    for (fixture, classes) in [
        (
            "sd3",
            &[
                "StableDiffusion3Pipeline",
                "StableDiffusion3Img2ImgPipeline",
                "StableDiffusion3InpaintPipeline",
                "StableDiffusion3PAGPipeline",
                "StableDiffusion3PAGImg2ImgPipeline",
            ][..],
        ),
        ("flux-dev", &["FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"]),
    ] {
        let folder = Folder::copy_of(fixture);
        let family = folder.open().unwrap().info().family;
        for class in classes {
            folder.set("model_index.json", "_class_name", *class);
            assert_eq!(folder.open().unwrap_or_else(|error| panic!("{class}: {error}")).info().family, family);
        }
    }
}

#[test]
fn other_pipelines_are_refused_by_what_they_need() {
    let folder = Folder::copy_of("flux-dev");
    for (class, needs, expected) in [
        ("FluxFillPipeline", "an image and a mask", "FluxPipeline or FluxImg2ImgPipeline"),
        ("FluxControlPipeline", "a control image", "FluxPipeline"),
        ("FluxControlImg2ImgPipeline", "a control image", "FluxPipeline"),
        ("FluxControlInpaintPipeline", "a control image", "FluxPipeline"),
        ("FluxControlNetPipeline", "a ControlNet", "FluxPipeline"),
        ("FluxControlNetImg2ImgPipeline", "a ControlNet", "FluxPipeline"),
        ("FluxControlNetInpaintPipeline", "a ControlNet", "FluxPipeline"),
        ("FluxKontextPipeline", "an image to edit", "FluxPipeline"),
        ("FluxKontextInpaintPipeline", "an image to edit", "FluxPipeline"),
        ("FluxPriorReduxPipeline", "turns an image into a prompt", "FluxPipeline"),
        ("StableDiffusion3ControlNetPipeline", "a ControlNet", "StableDiffusion3Pipeline"),
        ("StableDiffusion3ControlNetInpaintingPipeline", "a ControlNet", "StableDiffusion3Pipeline"),
    ] {
        folder.set("model_index.json", "_class_name", class);
        assert_says(&folder.refusal(), &["model_index.json", class, needs, "from a prompt alone", expected]);
    }
}

/// Not those of the family that happens to be the first one.
#[test]
fn an_unknown_pipeline_is_told_the_known_ones_of_its_family() {
    for (fixture, expected, other) in
        [("flux-dev", "one of FLUX.1: FluxPipeline or", "StableDiffusion"), ("sd3", "StableDiffusion3Pipeline or", "Flux")]
    {
        let folder = Folder::copy_of(fixture);
        folder.set("model_index.json", "_class_name", "SomePipeline");
        let said = folder.refusal();
        assert_says(&said, &["model_index.json", "SomePipeline, which is not known", expected]);
        assert!(!said.contains(other), "{said}");
        // Of no family at all.
        folder.set("model_index.json", "transformer", serde_json::json!(["diffusers", "Flux2Transformer2DModel"]));
        assert_says(&folder.refusal(), &["SomePipeline", "StableDiffusion3Pipeline or FluxPipeline"]);
    }
}
