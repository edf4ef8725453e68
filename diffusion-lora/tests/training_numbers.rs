//! Optimisers, clipping, schedules and noise levels, compared with torch, prodigyopt, transformers and diffusers on given numbers.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_lora::train::{
    AdafactorSettings, AdamWSettings, LearningRateCourse, LearningRateSchedule, LionSettings, LossWeighting, MovingAverage,
    Optimizer, OptimizerSettings, OptimizerStateError, ProdigySettings, TimestepDensity, TimestepGrid, TimestepSampling,
    TimestepShift, TrainingRandom, clip_global_norm, global_norm,
};

/// Those of `make_training_fixtures.py`.
const SHAPES: [[usize; 2]; 4] = [[3, 5], [4, 2], [1, 7], [6, 1]];
const STEPS: usize = 20;
const KEPT: [usize; 3] = [1, 5, 20];
/// Means of f32 are summed in another order, and torch fuses products with sums: a few units in the last place.
const TOLERANCE: f64 = 1e-6;

struct Reference(Checkpoint);

impl Reference {
    fn open() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/training/optimizers.safetensors");
        Self(Checkpoint::open(&path).unwrap())
    }

    fn values(&self, name: &str) -> Vec<f64> {
        let stored = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        if stored.format() == diffusion_core::format::Format::F64 {
            let bytes = stored.bytes();
            return bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        }
        stored.to_f32().unwrap().into_iter().map(f64::from).collect()
    }

    fn start(&self) -> Vec<Tensor<2>> {
        matrices(&self.values("start"))
    }

    fn gradients(&self) -> Vec<Vec<Tensor<2>>> {
        let values = self.values("gradients");
        values.chunks(values.len() / STEPS).map(matrices).collect()
    }
}

fn matrices(flat: &[f64]) -> Vec<Tensor<2>> {
    let mut rest = flat;
    let tensors = SHAPES.map(|shape| {
        let (values, after) = rest.split_at(shape.iter().product());
        rest = after;
        let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), DType::F32))
    });
    assert!(rest.is_empty());
    tensors.into()
}

fn flat(tensors: &[Tensor<2>]) -> Vec<f64> {
    tensors.iter().flat_map(|tensor| tensor.clone().into_data().iter::<f64>().collect::<Vec<_>>()).collect()
}

/// Fails if a number is further from the expected one than `tolerance` times it, or times `rounded_at`: the size of what it was
/// the sum of, where terms cancel.
#[track_caller]
fn assert_close(what: &str, found: &[f64], expected: &[f64], rounded_at: impl Fn(usize) -> f64, tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let pairs = found.iter().zip(expected).enumerate();
    let errors = pairs.map(|(index, (found, expected))| {
        (found - expected).abs() / expected.abs().max(rounded_at(index).abs()).max(f64::MIN_POSITIVE)
    });
    let largest = errors.fold(0.0, |largest: f64, error| if error <= largest { largest } else { error });
    println!("{what}: largest relative error {largest:.1e}");
    assert!(largest <= tolerance, "{what}: relative error {largest:.2e}, allowed {tolerance:.0e}");
}

/// For numbers that are no sum in which terms cancel.
fn exactly(_: usize) -> f64 {
    0.0
}

/// Every kind of optimiser with every option, by the name of its case.
fn cases() -> [(&'static str, OptimizerSettings); 9] {
    use OptimizerSettings::{Adafactor, AdamW, Lion, Prodigy};
    let of_package =
        ProdigySettings { weight_decay: 0.0, use_bias_correction: false, safeguard_warmup: false, ..ProdigySettings::default() };
    let corrected = ProdigySettings { weight_decay: 1e-2, d0: 1e-4, d_coef: 8.0, ..ProdigySettings::default() };
    let coupled = ProdigySettings {
        betas: [0.8, 0.99],
        beta3: Some(0.9),
        epsilon: 1e-6,
        weight_decay: 0.1,
        decouple: false,
        d0: 1e-3,
        d_coef: 2.0,
        growth_rate: 1.2,
        ..of_package
    };
    let scaled =
        AdafactorSettings { scale_parameter: true, clip_threshold: 0.5, decay_rate: -0.6, ..AdafactorSettings::default() };
    let relative = AdafactorSettings {
        scale_parameter: true,
        relative_step: true,
        warmup_init: true,
        beta1: Some(0.9),
        weight_decay: 0.1,
        ..AdafactorSettings::default()
    };
    [
        ("adamw", AdamW(AdamWSettings { weight_decay: 1e-2, ..AdamWSettings::default() })),
        ("adamw_betas", AdamW(AdamWSettings { betas: [0.8, 0.95], epsilon: 1e-4, weight_decay: 0.3 })),
        ("prodigy", Prodigy(of_package)),
        ("prodigy_corrected", Prodigy(corrected)),
        ("prodigy_coupled", Prodigy(coupled)),
        ("adafactor", Adafactor(AdafactorSettings { weight_decay: 1e-2, ..AdafactorSettings::default() })),
        ("adafactor_scaled", Adafactor(scaled)),
        ("adafactor_relative", Adafactor(relative)),
        ("lion", Lion(LionSettings { weight_decay: 0.1, ..LionSettings::default() })),
    ]
}

#[test]
fn optimizers_step_as_their_references_do() {
    let reference = Reference::open();
    let gradients = reference.gradients();
    for (name, settings) in cases() {
        // The largest that each number was, whose rounding stays in it when it comes back to zero.
        let mut largest: Vec<f64> = reference.values("start").into_iter().map(f64::abs).collect();
        let rates = reference.values(&format!("{name}.rates"));
        let mut optimizer = settings.build(&SHAPES, &Device::flex());
        let mut parameters = reference.start();
        let mut distances = Vec::new();
        for (step, (gradients, rate)) in gradients.iter().zip(rates).enumerate() {
            optimizer.step(&mut parameters, gradients, rate);
            distances.push(optimizer.effective_learning_rate(1.0));
            for (largest, value) in largest.iter_mut().zip(flat(&parameters)) {
                *largest = value.abs().max(*largest);
            }
            if KEPT.contains(&(step + 1)) {
                let what = format!("{name}.{}", step + 1);
                assert_close(&what, &flat(&parameters), &reference.values(&what), |index| largest[index], TOLERANCE);
            }
        }
        if matches!(settings, OptimizerSettings::Prodigy(_)) {
            assert_close(&format!("{name}.d"), &distances, &reference.values(&format!("{name}.d")), exactly, TOLERANCE);
        }
    }
}

/// As those of the first factors are while the second ones are zero.
#[test]
fn gradients_of_zero_move_nothing() {
    let reference = Reference::open();
    let zeros: Vec<Tensor<2>> = reference.start().iter().map(Tensor::zeros_like).collect();
    let gradients = &reference.gradients()[0];
    for (name, settings) in cases() {
        let mut optimizer = settings.with_weight_decay(0.0).build(&SHAPES, &Device::flex());
        let mut parameters = reference.start();
        optimizer.step(&mut parameters, &zeros, 0.1);
        assert_eq!(flat(&parameters), reference.values("start"), "{name}");
        let some = [zeros[0].clone(), gradients[1].clone(), zeros[2].clone(), zeros[3].clone()];
        optimizer.step(&mut parameters, &some, 0.1);
        for (index, (parameter, start)) in parameters.iter().zip(reference.start()).enumerate() {
            let has_moved = parameter.to_data() != start.to_data();
            assert_eq!(has_moved, index == 1, "{name}: parameter {index}");
        }
        assert!(flat(&parameters).iter().all(|value| value.is_finite()), "{name}");
    }
}

#[test]
fn an_optimizer_that_is_restored_goes_on_to_the_bit() {
    let reference = Reference::open();
    let gradients = reference.gradients();
    for (name, settings) in cases() {
        let rates = reference.values(&format!("{name}.rates"));
        let steps = |optimizer: &mut dyn Optimizer, parameters: &mut [Tensor<2>], range: std::ops::Range<usize>| {
            for step in range {
                optimizer.step(parameters, &gradients[step], rates[step]);
            }
        };
        let build = || settings.build(&SHAPES, &Device::flex());
        let (mut whole, mut expected) = (build(), reference.start());
        steps(&mut *whole, &mut expected, 0..STEPS);
        for stop in [0, 1, 10] {
            let (mut first, mut parameters) = (build(), reference.start());
            steps(&mut *first, &mut parameters, 0..stop);
            // Through bytes, as a checkpoint keeps it.
            let mut state = first.state();
            for tensor in state.tensors.values_mut() {
                *tensor = Tensor::from_data(tensor.to_data(), (&Device::flex(), DType::F32));
            }
            let mut second = build();
            second.restore(state).unwrap();
            steps(&mut *second, &mut parameters, stop..STEPS);
            assert_eq!(flat(&parameters), flat(&expected), "{name}, stopped after {stop}");
            assert_eq!(second.state().numbers, whole.state().numbers, "{name}");
        }
    }
}

#[test]
fn a_state_of_something_else_is_refused_and_changes_nothing() {
    let reference = Reference::open();
    let gradients = &reference.gradients()[0];
    let cases = cases();
    for (name, settings) in &cases {
        let build = |shapes: &[[usize; 2]]| settings.build(shapes, &Device::flex());
        let (mut optimizer, mut parameters) = (build(&SHAPES), reference.start());
        optimizer.step(&mut parameters, gradients, 0.1);
        let before = optimizer.state();
        let fewer = build(&SHAPES[..3]).state();
        assert!(matches!(optimizer.restore(fewer), Err(OptimizerStateError::Missing { .. })), "{name}");
        let more = build(&[SHAPES[0], SHAPES[1], SHAPES[2], SHAPES[3], [2, 2]]).state();
        assert!(matches!(optimizer.restore(more), Err(OptimizerStateError::Unexpected { .. })), "{name}");
        let other = build(&[[9, 9], SHAPES[1], SHAPES[2], SHAPES[3]]).state();
        assert!(matches!(optimizer.restore(other), Err(OptimizerStateError::Tensor { .. })), "{name}");
        for (other, settings) in cases.iter().filter(|(_, other)| other.name() != settings.name()) {
            assert!(optimizer.restore(settings.build(&SHAPES, &Device::flex()).state()).is_err(), "{name} from {other}");
        }
        if let Some(number) = before.numbers.keys().next() {
            for bad in [f64::NAN, f64::INFINITY] {
                let mut state = before.clone();
                state.numbers.insert(number.clone(), bad);
                assert!(matches!(optimizer.restore(state), Err(OptimizerStateError::Number { .. })), "{name}");
            }
        }
        let after = optimizer.state();
        assert_eq!(after.numbers, before.numbers, "{name}");
        for (tensor, before) in after.tensors.values().zip(before.tensors.values()) {
            assert_eq!(tensor.to_data(), before.to_data(), "{name}");
        }
    }
}

#[test]
fn gradients_are_clipped_together_as_torch_clips_them() {
    let reference = Reference::open();
    for limit in ["0.1", "100"] {
        let mut gradients = reference.gradients().remove(0);
        let norm = clip_global_norm(&mut gradients, limit.parse().unwrap()).unwrap();
        assert_close("clipping.norm", &[norm], &reference.values("clipping.norm"), exactly, TOLERANCE);
        let name = format!("clipping.{limit}");
        assert_close(&name, &flat(&gradients), &reference.values(&name), exactly, TOLERANCE);
    }
    let mut gradients = reference.gradients().remove(0);
    clip_global_norm(&mut gradients, 0.1).unwrap();
    assert!((global_norm(&gradients).unwrap() - 0.1).abs() < 1e-5);
}

#[test]
fn an_average_is_that_of_diffusers_and_can_be_restored() {
    let reference = Reference::open();
    let mut average = MovingAverage::new(0.6, &reference.start());
    for (step, parameters) in reference.gradients().iter().enumerate() {
        average = MovingAverage::restored(0.6, average.updates(), average.parameters().to_vec());
        average.update(parameters);
        if KEPT.contains(&(step + 1)) {
            let name = format!("average.{}", step + 1);
            assert_close(&name, &flat(average.parameters()), &reference.values(&name), exactly, TOLERANCE);
        }
    }
    assert_eq!(average.updates(), STEPS as u64);
}

#[test]
fn learning_rates_are_those_of_diffusers() {
    let reference = Reference::open();
    for name in ["constant", "cosine", "linear"] {
        let course: LearningRateCourse = name.parse().unwrap();
        for warm_up_steps in [0, 6] {
            let schedule = LearningRateSchedule { course, warm_up_steps, total_steps: 25 };
            let expected = reference.values(&format!("rate.{name}.{warm_up_steps}"));
            let found: Vec<f64> = (0..expected.len()).map(|step| schedule.factor(step)).collect();
            assert_close(name, &found, &expected, exactly, 1e-12);
        }
    }
}

#[test]
fn noise_levels_are_those_of_diffusers() {
    let reference = Reference::open();
    let [uniform, normal] = ["density.draws", "density.normals"].map(|name| reference.values(name));
    for (name, draws, density) in [
        ("logit_normal", &normal, TimestepDensity::LogitNormal { mean: -0.4, deviation: 1.3 }),
        ("sigmoid", &normal, "sigmoid".parse().unwrap()),
        ("mode", &uniform, "mode".parse().unwrap()),
    ] {
        let found: Vec<f64> = draws.iter().map(|draw| density.of_draw(*draw)).collect();
        // The reference subtracts numbers of about 1 in f32.
        assert_close(name, &found, &reference.values(&format!("density.{name}")), |_| 1.0, TOLERANCE);
        assert_eq!(density.to_string(), name);
    }
    let levels = |shift, grid, image_tokens| {
        let sampling = TimestepSampling { density: TimestepDensity::Uniform, shift, grid };
        uniform.iter().map(|u| sampling.sigma_of(sampling.density.of_draw(*u), image_tokens)).collect::<Vec<f64>>()
    };
    for (name, shift) in [("levels.1", TimestepShift::None), ("levels.3", TimestepShift::Constant(3.0))] {
        assert_close(name, &levels(shift, TimestepGrid::Table, 0), &reference.values(name), exactly, TOLERANCE);
    }
    for tokens in [256, 1024, 4096] {
        let name = format!("shift.{tokens}");
        let found = levels(TimestepShift::BY_RESOLUTION, TimestepGrid::Continuous, tokens);
        assert_close(&name, &found, &reference.values(&name), exactly, TOLERANCE);
    }
}

#[test]
fn weights_are_those_of_diffusers() {
    let reference = Reference::open();
    let sigmas = reference.values("density.draws");
    let of = |weighting: LossWeighting| sigmas.iter().map(|sigma| weighting.weight(*sigma)).collect::<Vec<f64>>();
    for name in ["sigma_sqrt", "cosmap"] {
        assert_close(name, &of(name.parse().unwrap()), &reference.values(&format!("weight.{name}")), exactly, TOLERANCE);
    }
    for name in ["mode", "logit_normal"] {
        assert_close(name, &of(LossWeighting::None), &reference.values(&format!("weight.{name}")), exactly, 0.0);
    }
}

#[test]
fn impossible_settings_are_refused() {
    use TimestepDensity::{LogitNormal, Mode, Sigmoid};
    let uniform = TimestepSampling { density: TimestepDensity::Uniform, shift: TimestepShift::None, grid: TimestepGrid::Table };
    assert_eq!(uniform.check(), Ok(()));
    for density in [
        LogitNormal { mean: f64::NAN, deviation: 1.0 },
        LogitNormal { mean: 0.0, deviation: 0.0 },
        Mode { scale: f64::INFINITY },
        Sigmoid { scale: -1.0 },
    ] {
        assert!(TimestepSampling { density, ..uniform }.check().is_err(), "{density:?}");
    }
    let nowhere = TimestepShift::ByResolution { shifts: [0.5, 1.15], image_tokens: [256, 256] };
    for shift in [TimestepShift::Constant(0.0), TimestepShift::Constant(f64::NAN), nowhere] {
        assert!(TimestepSampling { shift, ..uniform }.check().is_err(), "{shift:?}");
    }
    assert_eq!(TimestepSampling { shift: TimestepShift::BY_RESOLUTION, ..uniform }.check(), Ok(()));
    let error = MovingAverage::check(1.0).unwrap_err();
    assert_eq!(error.to_string(), "decay of the average is 1, expected a number from 0 to below 1");
    assert_eq!(MovingAverage::check(0.99), Ok(()));
}

#[test]
fn every_draw_is_a_level_that_the_network_knows() {
    for density in ["logit_normal", "uniform", "mode", "sigmoid"].map(|name| name.parse::<TimestepDensity>().unwrap()) {
        for shift in [TimestepShift::None, TimestepShift::Constant(3.0), TimestepShift::BY_RESOLUTION] {
            for grid in [TimestepGrid::Continuous, TimestepGrid::Table] {
                let sampling = TimestepSampling { density, shift, grid };
                for u in [-0.5, 0.0, 1e-9, 0.5, 1.0, 1.5] {
                    let sigma = sampling.sigma_of(u, 1024);
                    assert!((1e-3..=1.0).contains(&sigma), "{sampling:?}: {u} gives {sigma}");
                }
                let mut random = TrainingRandom::new(3, 1, 4);
                let drawn: Vec<f64> = (0..1000).map(|_| sampling.sigma(&mut random, 1024)).collect();
                assert!(drawn.iter().all(|sigma| (1e-3..=1.0).contains(sigma)), "{sampling:?}");
                let mean = drawn.iter().sum::<f64>() / 1000.0;
                // The mean of an unshifted density is a half; shifts move it up.
                let expected = if shift == TimestepShift::None { 0.45..0.55 } else { 0.57..0.75 };
                assert!(expected.contains(&mean), "{sampling:?}: mean {mean}");
            }
        }
    }
}
