//! Noise levels that settings choose.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use diffusion_models::{NoiseShift, Settings};
use diffusion_schedulers::kind::ScheduleKind;
use fixture::Fixture;

#[track_caller]
fn check(name: &'static str, change: impl Fn(&mut Settings), expected: &[f64]) {
    let fixture = Fixture::new(name);
    let pipeline = fixture.pipeline();
    // 1024 x 1024 pixels have 4096 patches.
    let mut settings = Settings { width: 1024, height: 1024, num_steps: expected.len() - 1, ..fixture.settings() };
    change(&mut settings);
    let found = pipeline.sigmas(&settings).unwrap();
    let close = found.as_slice().iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6);
    assert!(close && found.as_slice().len() == expected.len(), "{name}: {found:?}");
}

/// Levels that diffusers 0.42.1 computes; that of Stable Diffusion 3 by resolution by hand: e^1.16 s / (1 + (e^1.16 - 1) s).
#[test]
fn shifts_are_those_of_the_references() {
    check("sd3", |settings| settings.shift_terminal = Some(0.1), &[1.0, 0.870_769, 0.638_710, 0.1, 0.0]);
    let by_resolution = |settings: &mut Settings| settings.shift = Some(NoiseShift::ByResolution);
    let shifted = |sigma: f64| 1.16f64.exp() * sigma / (1.0 + (1.16f64.exp() - 1.0) * sigma);
    check("sd3", by_resolution, &[1.0, shifted(0.667), shifted(0.334), shifted(0.001), 0.0]);
    check("flux-schnell", by_resolution, &[1.0, 0.904_531, 0.759_511, 0.512_844, 0.0]);
    check("flux-schnell", |_| (), &[1.0, 0.75, 0.5, 0.25, 0.0]);
    check("flux-dev", |settings| settings.shift = Some(NoiseShift::Constant(1.0)), &[1.0, 0.75, 0.5, 0.25, 0.0]);
}

#[test]
fn shifts_and_schedules_go_together() {
    let simple = |settings: &mut Settings| {
        settings.schedule = Some(ScheduleKind::Simple);
        settings.shift = Some(NoiseShift::Constant(3.0));
    };
    check("sd3", simple, &[1.0, 0.9, 0.75, 0.5, 0.0]);
    let stretched = |settings: &mut Settings| {
        simple(settings);
        settings.shift_terminal = Some(0.25);
    };
    check("flux-dev", stretched, &[1.0, 0.85, 0.625, 0.25, 0.0]);
}
