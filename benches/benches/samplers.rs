//! What each sampler costs by itself: 28 steps over latents of 1024 x 1024 pixels, with a network that costs nothing.
//!
//! ```sh
//! cargo bench -p diffusion-benches --bench samplers
//! ```

use std::ops::ControlFlow;
use std::time::Duration;

use burn::tensor::Device;
use criterion::{Criterion, criterion_group, criterion_main};
use diffusion_core::SamplerRun;
use diffusion_core::noise::{TorchGenerator, latent_noise};
use diffusion_schedulers::kind::{SamplerKind, SamplerSettings, ScheduleKind};
use diffusion_schedulers::schedules::SigmaTable;

const SHAPE: [usize; 4] = [1, 16, 128, 128];
const NUM_STEPS: usize = 28;
/// Of the released Stable Diffusion 3.5.
const SHIFT: f64 = 3.0;

fn samplers(criterion: &mut Criterion) {
    let device = Device::flex();
    let model = SigmaTable::flow(SHIFT).unwrap();
    let sigmas = ScheduleKind::Simple.build(&model).unwrap().sigmas(NUM_STEPS).unwrap();
    let (latents, velocity) = (latent_noise(1, SHAPE, &device), latent_noise(2, SHAPE, &device));
    for &kind in SamplerKind::ALL {
        let sampler = kind.build(&SamplerSettings::of(&model, TorchGenerator::new(3))).unwrap();
        criterion.bench_function(&format!("samplers/{kind}"), |bencher| {
            bencher.iter(|| {
                let run = SamplerRun {
                    velocity: &mut |_| Ok(velocity.clone()),
                    latents: latents.clone(),
                    sigmas: &sigmas,
                    on_step: &mut |_| ControlFlow::Continue(()),
                };
                sampler.sample(run).unwrap().into_data()
            });
        });
    }
}

criterion_group! {
    name = group;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = samplers
}
criterion_main!(group);
