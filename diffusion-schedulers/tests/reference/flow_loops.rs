//! Full loops on flows, with the network of diffusers' scheduler tests, against sums that diffusers 0.42.1 gives.

use burn::Tensor;
use diffusion_core::SigmaSchedule;
use diffusion_schedulers::path::NoisePath;
use diffusion_schedulers::samplers::{Ddim, DpmPp2M, DpmPp2MLogSnr, Euler, Heun, SolverOrder, SolverType, UniPc, UniPcVariant};
use diffusion_schedulers::schedules::{FlowShift, SolverFlow, TimeShift};

use crate::{assert_sum, dummy_sample, model, numbers, run, sigmas, sum_abs};

#[test]
fn euler_and_heun_go_through_flows_as_the_reference_does() {
    let velocity = |x, sigma| model(x, 1000.0 * sigma);
    for (shift, num_steps, sum, last) in [
        (1.0, 4, 114.054_764, 0.297_018),
        (3.0, 4, 99.103_271, 0.258_081),
        (1.0, 10, 133.362_030, 0.347_297),
        (3.0, 10, 129.349_457, 0.336_848),
    ] {
        let levels = FlowShift::new(shift).unwrap().sigmas(num_steps).unwrap();
        let x = run(&Euler, velocity, dummy_sample(), &levels);
        assert_sum(sum_abs(x.clone()), sum, 1e-3, "Euler");
        assert_sum(numbers(x)[767], last, 1e-5, "Euler");
        // DDIM without noise is the same.
        assert_sum(sum_abs(run(&Ddim::new(NoisePath::Flow), velocity, dummy_sample(), &levels)), sum, 1e-3, "DDIM");
    }
    let dynamic = TimeShift::exponential(1.15).unwrap().sigmas(4).unwrap();
    assert_sum(sum_abs(run(&Euler, velocity, dummy_sample(), &dynamic)), 109.144_707, 1e-3, "Euler, dynamic");

    let mut calls = 0;
    let counted = |x, sigma| {
        calls += 1;
        velocity(x, sigma)
    };
    let x = run(&Heun, counted, dummy_sample(), &FlowShift::new(3.0).unwrap().sigmas(4).unwrap());
    assert_sum(sum_abs(x), 152.753_983, 1e-3, "Heun");
    assert_eq!(calls, 7);
}

/// The reference shows the network whole timesteps, rounded down.
fn whole(x: Tensor<4>, sigma: f64) -> Tensor<4> {
    model(x, (1000.0 * sigma).floor())
}

#[test]
fn dpm_solver_goes_through_flows_as_the_reference_does() {
    let flow = |num_steps| SolverFlow::dpm_solver(FlowShift::new(3.0).unwrap()).sigmas(num_steps).unwrap();
    for (order, solver, num_steps, sum) in [
        (SolverOrder::First, SolverType::Midpoint, 10, 130.379_089),
        (SolverOrder::Second, SolverType::Midpoint, 10, 137.282_135),
        (SolverOrder::Second, SolverType::Heun, 10, 138.077_042),
        (SolverOrder::Third, SolverType::Midpoint, 10, 137.579_208),
        (SolverOrder::Third, SolverType::Heun, 10, 138.072_754),
        (SolverOrder::Second, SolverType::Midpoint, 20, 141.312_943),
    ] {
        let sampler = DpmPp2MLogSnr { order, solver, ..DpmPp2MLogSnr::new(NoisePath::Flow) };
        let x = run(&sampler, whole, dummy_sample(), &flow(num_steps));
        assert_sum(sum_abs(x), sum, 1e-3, &format!("{order:?} {solver:?} {num_steps}"));
    }
}

#[test]
fn uni_pc_goes_through_flows_as_the_reference_does() {
    let levels = SolverFlow::uni_pc(FlowShift::new(3.0).unwrap()).sigmas(10).unwrap();
    for (order, sum, last) in [
        (SolverOrder::First, 132.894_302, 0.346_079),
        (SolverOrder::Second, 137.388_977, 0.357_784),
        (SolverOrder::Third, 137.405_746, 0.357_827),
    ] {
        let sampler = UniPc { order, ..UniPc::new(NoisePath::Flow) };
        let x = run(&sampler, whole, dummy_sample(), &levels);
        assert_sum(sum_abs(x.clone()), sum, 1e-3, &format!("{order:?}"));
        assert_sum(numbers(x)[767], last, 1e-5, &format!("{order:?}"));
        // Where the reference gives NaN.
        let bh1 = UniPc { variant: UniPcVariant::Bh1, ..sampler };
        assert!(numbers(run(&bh1, whole, dummy_sample(), &levels)).iter().all(|x| x.is_finite()));
    }
}

#[test]
fn dpm_solver_in_comfyuis_form_goes_through_a_flow() {
    let shift = FlowShift::new(3.0).unwrap();
    let levels: Vec<f64> = (0..=10).map(|i| shift.apply(1.0 - f64::from(i) / 10.0)).collect();
    let x = run(&DpmPp2M, |x, sigma| model(x, 1000.0 * sigma), dummy_sample(), &sigmas(&levels));
    assert_sum(sum_abs(x.clone()), 139.856_644, 1e-3, "DPM++ 2M");
    assert_sum(numbers(x)[767], 0.364_210, 1e-5, "DPM++ 2M");
}
