//! Opening a file of weights, and loading a network from it: 4 blocks of Stable Diffusion 3.5 Medium, in each format.
//!
//! ```sh
//! cargo bench -p diffusion-benches --bench load
//! ```
//!
//! `open` reads the header, `load` gives every parameter its place in the mapped file; what is not kept as the file has it, such
//! as vectors in bf16, is converted.

use std::time::Duration;

use burn::tensor::{Device, FloatDType};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use diffusion_benches::RandomCheckpoint;
use diffusion_core::format::Format;
use diffusion_core::weights::parameter_shapes;
use diffusion_core::{Loading, Precision};
use diffusion_models::sd3::{Sd3Config, Sd3Transformer};

fn load(criterion: &mut Criterion) {
    let (config, device) = (Sd3Config { num_layers: 4, ..Sd3Config::medium_3_5() }, Device::flex());
    let config = Sd3Config { dual_attention_layers: vec![0, 1], ..config };
    let shapes = parameter_shapes(&config.init(FloatDType::F32, &device));
    for format in [Format::F32, Format::BF16, Format::Q8_0, Format::Q4_0] {
        let file = RandomCheckpoint::write(&shapes, format).unwrap();
        let name = format.to_string().to_lowercase();
        criterion.bench_function(&format!("open/{name}"), |bencher| bencher.iter(|| file.checkpoint().unwrap()));
        let loading = Loading::new(Precision::f32(), &device);
        criterion.bench_function(&format!("load/{name}"), |bencher| {
            bencher.iter_batched(
                || file.checkpoint().unwrap(),
                |checkpoint| Sd3Transformer::load(checkpoint, &config, &loading).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group! {
    name = group;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = load
}
criterion_main!(group);
