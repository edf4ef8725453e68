//! Every sampler hands the velocity the index of the step, and hands its error on.

use std::cell::Cell;
use std::ops::ControlFlow;

use diffusion_core::noise::BrownianTree;
use diffusion_core::{Evaluation, SampleError, Sampler, SamplerRun, SamplerStep, VelocityError};
use diffusion_schedulers::kind::{SamplerKind, SamplerSettings};
use diffusion_schedulers::schedules::SigmaTable;
use diffusion_schedulers::variance_preserving::{Prediction, VariancePreserving};

use crate::{dummy_sample, sigmas};

const LEVELS: [f64; 6] = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0];

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("evaluation {0} failed")]
struct Failed(usize);

fn build(kind: SamplerKind) -> Box<dyn Sampler + Send + Sync> {
    kind.build(&SamplerSettings::of(&SigmaTable::flow(3.0).unwrap(), BrownianTree::new(42))).unwrap()
}

/// A run whose evaluation of this index fails, and the number of evaluations that it made.
fn run_failing_at(kind: SamplerKind, failing: usize) -> (Result<(), SampleError>, usize) {
    let mut evaluations = 0;
    let result = build(kind).sample(SamplerRun {
        velocity: &mut |at| {
            evaluations += 1;
            if evaluations > failing { Err(Failed(failing).into()) } else { Ok(at.latents) }
        },
        latents: dummy_sample(),
        sigmas: &sigmas(&LEVELS),
        on_step: &mut |_| ControlFlow::Continue(()),
    });
    (result.map(drop), evaluations)
}

/// Every evaluation is made to fail once, also the second one of a step.
#[test]
fn a_velocity_that_fails_ends_the_run_with_its_own_error() {
    for &kind in SamplerKind::ALL {
        let (finished, num_evaluations) = run_failing_at(kind, usize::MAX);
        assert!(finished.is_ok() && num_evaluations >= LEVELS.len() - 1, "{kind}");
        for failing in 0..num_evaluations {
            let (result, evaluations) = run_failing_at(kind, failing);
            assert_eq!(evaluations, failing + 1, "{kind} went on after evaluation {failing} failed");
            let error = result.unwrap_err();
            assert_eq!(error.to_string(), format!("evaluation {failing} failed"), "{kind}");
            let SampleError::Velocity(error) = error else { panic!("{kind}: {error:?}") };
            assert_eq!(error.downcast_ref(), Some(&Failed(failing)), "{kind}");
        }
    }
}

/// The number of finished steps is the index of the step, also in the second evaluation of a step.
#[test]
fn the_velocity_hears_the_index_of_every_step_in_order() {
    for &kind in SamplerKind::ALL {
        let (finished, mut heard) = (Cell::new(0), Vec::new());
        let result = build(kind).sample(SamplerRun {
            velocity: &mut |Evaluation { latents, step, .. }| {
                assert_eq!(step, finished.get(), "{kind}");
                heard.push(step);
                Ok(latents)
            },
            latents: dummy_sample(),
            sigmas: &sigmas(&LEVELS),
            on_step: &mut |SamplerStep { index, .. }| {
                finished.set(index + 1);
                ControlFlow::Continue(())
            },
        });
        assert!(result.is_ok(), "{kind}");
        heard.dedup();
        assert_eq!(heard, [0, 1, 2, 3, 4], "{kind}");
    }
}

#[test]
fn a_network_with_timesteps_hears_the_step_and_its_error_is_handed_on() {
    let model = VariancePreserving::scaled_linear(0.00085, 0.012, 1000).unwrap();
    let mut field = model.velocity_field(Prediction::Epsilon, |at| Err(Failed(at.step).into()));
    let error: VelocityError = field(Evaluation { latents: dummy_sample(), sigma: 1.0, step: 3 }).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Failed(3)));
}
