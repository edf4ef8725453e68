//! After any number of switches, weights without a LoRA are the file's to the bit.

mod common;

use burn::tensor::FloatDType;
use common::{FLUX, Layout, Reference, denoiser_bits, lora_file, pipeline};
use diffusion_core::noise::TorchGenerator;
use diffusion_core::weights::{PatchMode, PatchWeights};
use diffusion_core::{Precision, Storage};
use diffusion_lora::{Lora, LoraSet, SetLoras};
use diffusion_models::flux::FluxTransformer;

#[test]
fn a_thousand_random_switches_leave_no_trace() {
    let loras = ["diffusers", "kohya", "comfyui", "xlabs", "onetrainer"];
    let loras = loras.map(|name| Lora::open(&lora_file(FLUX, name)).unwrap());
    // As the file has them, which is bf16, and converted to the other types that weights are stored in.
    let types = [Storage::AsPublished, Storage::Converted(FloatDType::F32), Storage::Converted(FloatDType::F16)];
    let reference = Reference::of(FLUX);
    for storage in types {
        let precision = Precision { storage, ..Precision::f32() };
        let mut pipeline = pipeline(FLUX, Layout::Folder, precision);
        reference.velocity(&mut pipeline);
        let fresh = denoiser_bits::<FluxTransformer>(&pipeline);
        let mut random = TorchGenerator::new(9).normal(4000).into_iter();
        let mut next = || random.next().unwrap();
        for _ in 0..1000 {
            let which = |x: f32| ((x.abs() * 1000.0) as usize) % loras.len();
            let set = LoraSet::new().with(&loras[which(next())], f64::from(next()));
            let set = if next() > 0.0 { set.with(&loras[which(next())], 0.7) } else { set };
            pipeline.set_loras(&set).unwrap();
        }
        assert_ne!(denoiser_bits::<FluxTransformer>(&pipeline), fresh);
        pipeline.set_loras(&LoraSet::new()).unwrap();
        assert_eq!(denoiser_bits::<FluxTransformer>(&pipeline), fresh, "{storage:?}");
    }
}

#[test]
fn a_set_gives_the_same_weights_however_it_was_reached() {
    let [first, second] = ["kohya", "diffusers"].map(|name| Lora::open(&lora_file(FLUX, name)).unwrap());
    let reference = Reference::of(FLUX);
    let mut pipeline = pipeline(FLUX, Layout::SingleFile, Precision::f32());
    let wanted = LoraSet::new().with(&first, 0.8).with(&second, -0.2);
    pipeline.set_loras(&wanted).unwrap();
    reference.velocity(&mut pipeline);
    let direct = denoiser_bits::<FluxTransformer>(&pipeline);
    for detour in [
        LoraSet::new(),
        LoraSet::new().with(&second, 1.0),
        LoraSet::new().with(&first, 0.8).with_mode(PatchMode::Attach),
        LoraSet::new().with(&first, 0.0),
    ] {
        pipeline.set_loras(&detour).unwrap();
        pipeline.set_loras(&wanted).unwrap();
        assert_eq!(denoiser_bits::<FluxTransformer>(&pipeline), direct);
    }
}

#[test]
fn a_refused_set_changes_nothing() {
    let lora = Lora::open(&lora_file(FLUX, "kohya")).unwrap();
    let other = Lora::open(&lora_file("sd3", "kohya")).unwrap();
    let reference = Reference::of(FLUX);
    let mut pipeline = pipeline(FLUX, Layout::Folder, Precision::f32());
    pipeline.set_loras(&LoraSet::new().with(&lora, 1.0)).unwrap();
    reference.velocity(&mut pipeline);
    let before = denoiser_bits::<FluxTransformer>(&pipeline);
    pipeline.set_loras(&LoraSet::new().with(&lora, 0.5).with(&other, 1.0)).unwrap_err();
    assert_eq!(denoiser_bits::<FluxTransformer>(&pipeline), before);
    assert!(!pipeline.patch_targets().is_empty());
}
