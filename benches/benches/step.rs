//! Parts of a generation at published widths: every case of the table in `benches/src/case.rs`, with products in f32 and bf16,
//! from a file with weights in f32, bf16, `Q8_0` and `Q4_0`. Batch 1, on the CPU.
//!
//! ```sh
//! cargo bench -p diffusion-benches --bench step -- flux/512/bf16
//! ```
//!
//! A name is `CASE/PRODUCTS/WEIGHTS`. One case is in memory at a time; what the filter leaves out is not even made.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use diffusion_benches::{CASES, Running};

fn step(criterion: &mut Criterion) {
    for case in CASES {
        for setting in case.settings() {
            let name = format!("{}/{}/{}", case.name, setting.products.name(), setting.weights).to_lowercase();
            let mut made: Option<Running> = None;
            criterion.bench_function(&name, |bencher| {
                let running = made.get_or_insert_with(|| case.build(setting).unwrap());
                bencher.iter(|| (running.run)());
            });
        }
    }
}

criterion_group! {
    name = group;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(10));
    targets = step
}
criterion_main!(group);
