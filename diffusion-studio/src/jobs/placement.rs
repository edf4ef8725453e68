//! Which of the waiting jobs a free worker takes.

use std::sync::Arc;
use std::time::Duration;

use super::order::Place;

/// What a job needs in a worker's memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Needs {
    /// Name of the model.
    pub model: Arc<str>,
    /// Name of the set of LoRAs with their scales, always spelled the same way; empty without any.
    pub loras: Arc<str>,
}

/// What a model costs a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCost {
    /// Name of the model.
    pub model: Arc<str>,
    /// Memory that drawing with it takes.
    pub bytes: u64,
    /// Time to load it.
    pub load: Duration,
    /// Time to go from one set of LoRAs to another.
    pub switch: Duration,
}

/// What a worker tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerState {
    /// Bytes of its memory that models may take.
    pub memory: u64,
    /// Models whose files it has.
    pub models: Arc<[ModelCost]>,
    /// What is loaded, each model with the LoRAs that are applied to it.
    pub loaded: Vec<Needs>,
}

/// What a worker has to do before it can draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// Nothing: model and LoRAs are there.
    Nothing,
    /// Apply other LoRAs to a model that is loaded.
    Switch,
    /// Load the model.
    Load,
}

impl WorkerState {
    /// The models that its memory holds.
    pub fn able(&self) -> impl Iterator<Item = &ModelCost> {
        self.models.iter().filter(|model| model.bytes <= self.memory)
    }

    /// What it has to do for a job, and what that costs; `None` if it cannot draw it at all.
    pub fn effort(&self, needs: &Needs) -> Option<(Effort, Duration)> {
        let cost = self.able().find(|cost| cost.model == needs.model)?;
        Some(match self.applied(&needs.model) {
            Some(loras) if *loras == needs.loras => (Effort::Nothing, Duration::ZERO),
            Some(_) => (Effort::Switch, cost.switch),
            None => (Effort::Load, cost.load),
        })
    }

    /// The LoRAs that are applied to a model, if it is loaded.
    pub fn applied(&self, model: &str) -> Option<&Arc<str>> {
        self.loaded.iter().find(|loaded| *loaded.model == *model).map(|loaded| &loaded.loras)
    }
}

/// A job that a worker may take.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its place in the order of its model.
    pub place: Place,
    /// What it needs.
    pub needs: &'a Needs,
    /// How long ago its turn came: the later of being asked for, and the user's job before it in its model being started.
    /// Nothing for a job before which the same user has others.
    pub since_turn: Duration,
    /// How long ago that job of its model was asked for that waits longest.
    pub longest_wait: Duration,
    /// How many other workers have its model loaded.
    pub loaded_elsewhere: usize,
}

/// How much longer a job must have waited for a worker to make an effort for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// A job that takes no effort goes before one that does, unless the turn of that one came earlier by so many times its cost.
    pub against_ready: f64,
    /// A worker with nothing else to do leaves a model's jobs to others that have it loaded, who may be about to be free, until one
    /// of them has waited so many times the cost of loading. It need not be the first: before what one user has many of, there is
    /// always something new of other users.
    pub against_idle: f64,
    /// No patience is longer than this.
    pub at_most: Duration,
}

impl Default for Patience {
    /// As [the simulation](https://github.com/diffusion-rs/diffusion/blob/main/docs/SCALING.md) found good.
    fn default() -> Self {
        Self { against_ready: 16.0, against_idle: 1.0, at_most: Duration::from_mins(5) }
    }
}

impl Patience {
    /// Every job is taken as soon as a worker could, whatever it costs.
    pub const NONE: Self = Self { against_ready: 0.0, against_idle: 0.0, at_most: Duration::ZERO };

    fn times(&self, factor: f64, cost: Duration) -> Duration {
        cost.mul_f64(factor).min(self.at_most)
    }
}

/// What a free worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Take the candidate with this index.
    Take(usize),
    /// Leave what waits to others for so long; look again then, or when something changes.
    Leave(Duration),
    /// Nothing waits that it could draw.
    Nothing,
}

/// Which of the waiting jobs a free worker takes.
///
/// Within a model the order decides, except that a job goes before those that take more effort. So of each model there are at
/// most two to choose from: its first job, and the first that needs the LoRAs that are applied. Of all of them, the worker takes
/// the one whose turn came first, each later by the [`Patience`] against its effort.
///
/// - It takes what its loaded model and LoRAs serve, then what it can serve by switching LoRAs, then what it can load.
/// - Nobody starves: before the first job of a model, a worker that is able takes only jobs whose turn came at most
///   [`Patience::at_most`] later.
///   That holds under any load; a bound on the wait itself would, once all wait longer, make workers load for every job.
/// - A worker gets no job whose model it has no memory for.
///
/// Candidates of a model must come in its order; more than the first of each effort may be there, and none are needed.
///
/// # As a query
///
/// A job's row has `model`, `loras`, `tag` and `sequence`, `asked_at`, and `turn_at`: null until it is the user's first of the
/// model. Who starts a job sets `turn_at` of the user's next one, and the model's virtual time to the tag that was its smallest.
/// Candidates are `SELECT … WHERE model = $1 [AND loras = $2] ORDER BY tag, sequence LIMIT 1 FOR UPDATE SKIP LOCKED`, two for
/// a loaded model and one for another, each by an index on (model, loras, tag, sequence) or (model, tag, sequence). They are
/// joined by `UNION ALL`, those of models to be loaded only if the smallest `asked_at` of the model is old enough or nobody has
/// it loaded, and the job is the first by `coalesce(turn_at, now()) + patience, tag, sequence, model`, where `patience` is an
/// interval that the worker gives with each.
///
/// Reference: Zaharia et al., "Delay scheduling", `EuroSys` 2010.
pub fn choose<'a>(worker: &WorkerState, candidates: impl IntoIterator<Item = Candidate<'a>>, patience: &Patience) -> Decision {
    let mut least: Vec<(&str, Effort)> = Vec::new();
    let mut best = None;
    let mut left_for: Option<Duration> = None;
    for (index, candidate) in candidates.into_iter().enumerate() {
        let Some((effort, cost)) = worker.effort(candidate.needs) else { continue };
        let model = &*candidate.needs.model;
        match least.iter_mut().find(|(name, _)| *name == model) {
            Some((_, least)) if *least <= effort => continue,
            Some((_, least)) => *least = effort,
            None => least.push((model, effort)),
        }
        if effort == Effort::Load && candidate.loaded_elsewhere > 0 {
            let left = patience.times(patience.against_idle, cost).saturating_sub(candidate.longest_wait);
            if left > Duration::ZERO {
                left_for = Some(left_for.map_or(left, |other| other.min(left)));
                continue;
            }
        }
        let key = (signed(patience.times(patience.against_ready, cost)) - signed(candidate.since_turn), candidate.place, model);
        if best.is_none_or(|(best, _)| key < best) {
            best = Some((key, index));
        }
    }
    match (best, left_for) {
        (Some((_, index)), _) => Decision::Take(index),
        (None, Some(left)) => Decision::Leave(left),
        (None, None) => Decision::Nothing,
    }
}

fn signed(duration: Duration) -> i128 {
    duration.as_nanos() as i128
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const PATIENCE: Patience = Patience { against_ready: 3.0, against_idle: 1.0, at_most: Duration::from_secs(50) };

    fn needs(model: &str, loras: &str) -> Needs {
        Needs { model: model.into(), loras: loras.into() }
    }

    /// A worker that can load `small` and `large` if it has memory.
    fn worker(memory: u64, loaded: &[Needs]) -> WorkerState {
        let cost = |model: &str, gib: u64| ModelCost {
            model: model.into(),
            bytes: gib * GIB,
            load: Duration::from_secs(gib),
            switch: Duration::from_secs(1),
        };
        WorkerState { memory: memory * GIB, models: [cost("small", 4), cost("large", 20)].into(), loaded: loaded.to_vec() }
    }

    fn decide(worker: &WorkerState, jobs: &[(Needs, u64)]) -> Decision {
        let candidates = jobs.iter().zip(0..).map(|((needs, waited), sequence)| Candidate {
            place: Place { tag: 0, sequence },
            needs,
            since_turn: Duration::from_secs(*waited),
            longest_wait: Duration::from_secs(*waited),
            loaded_elsewhere: 1,
        });
        choose(worker, candidates, &PATIENCE)
    }

    #[test]
    fn what_is_loaded_goes_first_then_other_loras_then_other_models() {
        let worker = worker(24, &[needs("small", "ink")]);
        let [large, plain, ink] = [needs("large", ""), needs("small", ""), needs("small", "ink")].map(|needs| (needs, 20));
        assert_eq!(decide(&worker, &[large.clone(), plain.clone(), ink]), Decision::Take(2));
        assert_eq!(decide(&worker, &[large.clone(), plain]), Decision::Take(1));
        assert_eq!(decide(&worker, &[large]), Decision::Take(0));
    }

    #[test]
    fn a_job_that_waited_longer_by_the_patience_goes_first() {
        let worker = worker(24, &[needs("small", "ink")]);
        // Three switches are 3 s.
        let waiting = |longer: u64| [(needs("small", ""), 10 + longer), (needs("small", "ink"), 10)];
        assert_eq!(decide(&worker, &waiting(2)), Decision::Take(1));
        assert_eq!(decide(&worker, &waiting(4)), Decision::Take(0));
        // Three loads would be 60 s, but no patience is longer than 50 s.
        let waiting = |longer: u64| [(needs("large", ""), 10 + longer), (needs("small", "ink"), 10)];
        assert_eq!(decide(&worker, &waiting(49)), Decision::Take(1));
        assert_eq!(decide(&worker, &waiting(51)), Decision::Take(0));
    }

    #[test]
    fn an_idle_worker_leaves_a_job_to_those_that_have_its_model_until_loading_would_have_been_over() {
        let worker = worker(24, &[needs("small", "")]);
        let large = needs("large", "");
        assert_eq!(decide(&worker, &[(large.clone(), 8)]), Decision::Leave(Duration::from_secs(12)));
        assert_eq!(decide(&worker, &[(large.clone(), 20)]), Decision::Take(0));
        let place = Place { tag: 0, sequence: 0 };
        let [since_turn, longest_wait] = [Duration::ZERO, Duration::from_secs(20)];
        let before_many = Candidate { place, needs: &large, since_turn, longest_wait, loaded_elsewhere: 1 };
        assert_eq!(choose(&worker, [before_many], &PATIENCE), Decision::Take(0));
        let alone = Candidate { longest_wait: Duration::ZERO, loaded_elsewhere: 0, ..before_many };
        assert_eq!(choose(&worker, [alone], &PATIENCE), Decision::Take(0));
    }

    #[test]
    fn a_worker_without_memory_for_a_model_never_gets_its_jobs() {
        let large = (needs("large", ""), 10_000);
        assert_eq!(decide(&worker(16, &[]), std::slice::from_ref(&large)), Decision::Nothing);
        assert_eq!(decide(&worker(16, &[]), &[large.clone(), (needs("small", ""), 5)]), Decision::Take(1));
        assert_eq!(decide(&worker(20, &[]), &[large]), Decision::Take(0));
        assert_eq!(decide(&worker(80, &[]), &[(needs("unknown", ""), 10)]), Decision::Nothing);
    }

    #[test]
    fn within_a_model_a_longer_wait_passes_nobody() {
        let worker = worker(16, &[needs("small", "")]);
        assert_eq!(decide(&worker, &[(needs("small", "ink"), 5), (needs("small", "oil"), 500)]), Decision::Take(0));
        assert_eq!(decide(&worker, &[(needs("small", ""), 5), (needs("small", "oil"), 500)]), Decision::Take(0));
    }

    #[test]
    fn equal_waits_keep_their_order() {
        let worker = worker(80, &[needs("small", ""), needs("large", "")]);
        assert_eq!(decide(&worker, &[(needs("large", ""), 7), (needs("small", ""), 7)]), Decision::Take(0));
        assert_eq!(decide(&worker, &[(needs("small", ""), 7), (needs("large", ""), 7)]), Decision::Take(0));
    }
}
