//! Events in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use diffusion_studio::jobs::{Effort, FleetOrder, Offer, Patience};

use crate::fleet::{FirstLook, Fleet};
use crate::workload::{LORA_SETS, Workload};

/// How jobs are given to workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Policy {
    /// The job that waits longest, of those that the worker has memory for.
    FirstCome,
    /// Users take turns; what is loaded does not matter.
    Fair,
    /// Users take turns, and jobs go where their model is.
    Placed(Patience),
}

impl Policy {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::FirstCome => "first come".to_owned(),
            Self::Fair => "fair".to_owned(),
            Self::Placed(patience) if *patience == Patience::default() => "fair and placed".to_owned(),
            Self::Placed(patience) => format!("placed, patience {}", patience.against_ready),
        }
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Microseconds that each job waited until its drawing began.
    pub(crate) waits: Vec<u64>,
    pub(crate) loads: u64,
    pub(crate) switches: u64,
    /// Microseconds of drawing, and of loading and switching.
    pub(crate) drawing: u64,
    pub(crate) preparing: u64,
    /// When the last job ended.
    pub(crate) end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker has finished its job.
    Free(usize),
    /// An idle worker looks again for jobs of a model.
    Look(usize),
}

struct Simulation<'a> {
    workload: &'a Workload,
    policy: Policy,
    order: FleetOrder<usize>,
    fleet: Fleet,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// Models for which a look is among the events.
    is_looked_for: Vec<bool>,
    outcome: Outcome,
}

/// Let a fleet of workers draw all jobs.
pub(crate) fn run(workload: &Workload, workers: usize, policy: Policy) -> Outcome {
    let patience = if let Policy::Placed(patience) = policy { patience } else { Patience::NONE };
    let mut simulation = Simulation {
        workload,
        policy,
        order: FleetOrder::new(patience),
        fleet: Fleet::new(workers, &workload.costs),
        events: BinaryHeap::new(),
        is_looked_for: vec![false; workload.costs.len()],
        outcome: Outcome { waits: vec![0; workload.jobs.len()], ..Outcome::default() },
    };
    let names: Vec<String> = (0..workload.users).map(|user| user.to_string()).collect();
    for (index, job) in workload.jobs.iter().enumerate() {
        simulation.until(job.at);
        let needs = &workload.needs[job.needs as usize];
        let now = Duration::from_micros(job.at);
        match policy {
            // Everybody is a user of their own, so the order is that of time.
            Policy::FirstCome => simulation.order.push(&index.to_string(), needs, now, index),
            Policy::Fair | Policy::Placed(_) => simulation.order.push(&names[job.user as usize], needs, now, index),
        };
        simulation.offer(job.needs as usize, job.at);
    }
    simulation.until(u64::MAX);
    assert!(simulation.order.is_empty(), "jobs were left");
    simulation.outcome
}

impl Simulation<'_> {
    /// All that happens before a moment.
    fn until(&mut self, moment: u64) {
        while self.events.peek().is_some_and(|Reverse((at, _))| *at <= moment) {
            let Some(Reverse((now, event))) = self.events.pop() else { break };
            match event {
                Event::Free(worker) => {
                    if !self.take(worker, now) {
                        self.fleet.rest(worker, now);
                    }
                }
                Event::Look(model) => {
                    self.is_looked_for[model] = false;
                    self.offer(model * LORA_SETS, now);
                }
            }
        }
    }

    /// Idle workers look for jobs of a model, until one leaves what waits.
    fn offer(&mut self, needs: usize, now: u64) {
        let how = if matches!(self.policy, Policy::Placed(_)) { FirstLook::Prepared } else { FirstLook::Longest };
        let cost = &self.workload.costs[needs / LORA_SETS];
        while let Some(worker) = self.fleet.first_look(&self.workload.needs[needs], cost, how) {
            if !self.take(worker, now) {
                break;
            }
        }
    }

    /// A free worker takes a job; whether it did.
    fn take(&mut self, worker: usize, now: u64) -> bool {
        let taken = match self.order.take(self.fleet.state(worker), Duration::from_micros(now)) {
            Offer::Take(taken) => taken,
            Offer::Nothing => return false,
            Offer::Leave(time) => {
                self.look_again(worker, now + time.as_micros().max(1) as u64);
                return false;
            }
        };
        let job = self.workload.jobs[taken.job];
        let (effort, time) = self.fleet.prepare(worker, &self.workload.needs[job.needs as usize]);
        assert_eq!(effort, taken.effort);
        let (prepare, outcome) = (time.as_micros() as u64, &mut self.outcome);
        if effort == Effort::Load {
            outcome.loads += 1;
            for cost in self.workload.costs.iter() {
                self.order.set_loaded(&cost.model, self.fleet.loaded(&cost.model));
            }
        }
        outcome.switches += u64::from(effort == Effort::Switch);
        outcome.waits[taken.job] = now + prepare - job.at;
        outcome.preparing += prepare;
        outcome.drawing += job.draw;
        outcome.end = outcome.end.max(now + prepare + job.draw);
        self.events.push(Reverse((now + prepare + job.draw, Event::Free(worker))));
        true
    }

    fn look_again(&mut self, worker: usize, at: u64) {
        let state = self.fleet.state(worker);
        for (model, cost) in self.workload.costs.iter().enumerate() {
            if cost.bytes <= state.memory && state.applied(&cost.model).is_none() && !self.is_looked_for[model] {
                self.is_looked_for[model] = true;
                self.events.push(Reverse((at, Event::Look(model))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use diffusion_studio::jobs::{ModelCost, Needs};

    use super::*;
    use crate::workload::{Asked, Random};

    /// Jobs of one model with random times between them and of drawing, in seconds; one a second is drawn by a worker.
    fn workload(rate: f64) -> Workload {
        const JOBS: usize = 200_000;
        let (mut random, mut at) = (Random::new(1), 0.0);
        let mut exponential = || -(1.0 - random.uniform()).ln();
        let job = |_| {
            at += exponential() / rate;
            Asked { at: (at * 1e6) as u64, user: 0, needs: 0, draw: (exponential() * 1e6) as u64 }
        };
        let jobs = (0..JOBS).map(job).collect();
        let cost = ModelCost { model: "m".into(), bytes: 1, load: Duration::ZERO, switch: Duration::ZERO };
        let needs = vec![Needs { model: "m".into(), loras: "".into() }];
        Workload { costs: [cost].into(), needs, jobs, users: 1 }
    }

    fn mean_wait(workload: &Workload, workers: usize, policy: Policy) -> f64 {
        let waits = run(workload, workers, policy).waits;
        waits.iter().sum::<u64>() as f64 / waits.len() as f64 / 1e6
    }

    #[test]
    fn the_wait_is_that_of_queueing_theory() {
        // Erlang's formula: 0.8 / (1 - 0.8) for one worker, and 0.40918 / (10 - 8) for ten.
        for (workers, expected) in [(1, 4.0), (10, 0.204_59)] {
            let workload = workload(0.8 * workers as f64);
            for policy in [Policy::FirstCome, Policy::Fair, Policy::Placed(Patience::default())] {
                let wait = mean_wait(&workload, workers, policy);
                assert!((wait / expected - 1.0).abs() < 0.05, "{workers} workers, {policy:?}: {wait} instead of {expected}");
            }
        }
    }
}
