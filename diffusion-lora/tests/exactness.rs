//! After any number of switches, weights without a LoRA are the file's to the bit.

mod common;

use burn::tensor::FloatDType;
use common::{Reference, WithLoras, bits, lora_file, pipeline};
use diffusion_core::noise::TorchGenerator;
use diffusion_core::{Application, ChangeWeights, Precision, Storage};
use diffusion_lora::{Lora, LoraSet, SetLoras};
use diffusion_models::flux::Flux;

#[test]
fn a_thousand_random_switches_leave_no_trace() {
    let loras = ["diffusers", "kohya", "comfyui", "xlabs", "onetrainer"];
    let loras = loras.map(|name| Lora::open(&lora_file(Flux::FIXTURE, name)).unwrap());
    // As the file has them, which is bf16, and converted to the other types that weights are stored in.
    let types = [Storage::AsPublished, Storage::Converted(FloatDType::F32), Storage::Converted(FloatDType::F16)];
    let reference = Reference::of::<Flux>();
    for storage in types {
        let precision = Precision { storage, compute: FloatDType::F32 };
        let mut pipeline = pipeline::<Flux>(false, precision);
        reference.velocity(&mut pipeline);
        let fresh = bits(pipeline.transformer.as_ref().unwrap());
        let mut random = TorchGenerator::new(9).normal(4000).into_iter();
        let mut next = || random.next().unwrap();
        for _ in 0..1000 {
            let which = |x: f32| ((x.abs() * 1000.0) as usize) % loras.len();
            let set = LoraSet::new().with(&loras[which(next())], f64::from(next()));
            let set = if next() > 0.0 { set.with(&loras[which(next())], 0.7) } else { set };
            pipeline.set_loras(&set).unwrap();
        }
        assert_ne!(bits(pipeline.transformer.as_ref().unwrap()), fresh);
        pipeline.set_loras(&LoraSet::new()).unwrap();
        assert_eq!(bits(pipeline.transformer.as_ref().unwrap()), fresh, "{storage:?}");
    }
}

#[test]
fn a_set_gives_the_same_weights_however_it_was_reached() {
    let [first, second] = ["kohya", "diffusers"].map(|name| Lora::open(&lora_file(Flux::FIXTURE, name)).unwrap());
    let reference = Reference::of::<Flux>();
    let mut pipeline = pipeline::<Flux>(true, Precision::f32());
    let wanted = LoraSet::new().with(&first, 0.8).with(&second, -0.2);
    pipeline.set_loras(&wanted).unwrap();
    reference.velocity(&mut pipeline);
    let direct = bits(pipeline.transformer.as_ref().unwrap());
    for detour in [
        LoraSet::new(),
        LoraSet::new().with(&second, 1.0),
        LoraSet::new().with(&first, 0.8).applied(Application::Attached),
        LoraSet::new().with(&first, 0.0),
    ] {
        pipeline.set_loras(&detour).unwrap();
        pipeline.set_loras(&wanted).unwrap();
        assert_eq!(bits(pipeline.transformer.as_ref().unwrap()), direct);
    }
}

#[test]
fn a_refused_set_changes_nothing() {
    let lora = Lora::open(&lora_file(Flux::FIXTURE, "kohya")).unwrap();
    let other = Lora::open(&lora_file("sd3", "kohya")).unwrap();
    let reference = Reference::of::<Flux>();
    let mut pipeline = pipeline::<Flux>(false, Precision::f32());
    pipeline.set_loras(&LoraSet::new().with(&lora, 1.0)).unwrap();
    reference.velocity(&mut pipeline);
    let before = bits(pipeline.transformer.as_ref().unwrap());
    pipeline.set_loras(&LoraSet::new().with(&lora, 0.5).with(&other, 1.0)).unwrap_err();
    assert_eq!(bits(pipeline.transformer.as_ref().unwrap()), before);
    assert!(!pipeline.published_names().is_empty());
}
