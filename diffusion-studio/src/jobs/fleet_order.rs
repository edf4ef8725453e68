//! The jobs that wait for a fleet of workers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::order::{FairOrder, Place};
use super::placement::{Candidate, Decision, Effort, Needs, Patience, WorkerState, choose};

/// The jobs that wait for a fleet of workers.
///
/// Each model has a [`FairOrder`] of its own, so that a user's round is one of those who wait for the same workers; [`choose`]
/// decides between models and sets of LoRAs. A decision looks at two jobs of each model, however many wait. Times count from any
/// moment that the caller likes.
///
/// ```
/// use std::time::Duration;
/// use diffusion_studio::jobs::{Effort, FleetOrder, ModelCost, Needs, Offer, Patience, WorkerState};
///
/// let needs = |loras: &str| Needs { model: "flux".into(), loras: loras.into() };
/// let second = Duration::from_secs(1);
/// let cost = ModelCost { model: "flux".into(), bytes: 24 << 30, load: 20 * second, switch: second };
/// let worker = WorkerState { memory: 48 << 30, models: [cost].into(), loaded: vec![needs("ink")] };
///
/// let mut order = FleetOrder::new(Patience::default());
/// order.push("anna", &needs(""), second, "fox");
/// order.push("ben", &needs("ink"), second, "owl");
/// let Offer::Take(taken) = order.take(&worker, 2 * second) else { panic!() };
/// assert_eq!((taken.job, taken.effort), ("owl", Effort::Nothing));
/// ```
#[derive(Clone, Debug)]
pub struct FleetOrder<T> {
    patience: Patience,
    models: BTreeMap<Arc<str>, ModelOrder<T>>,
    len: usize,
}

/// Where a job waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Its model.
    pub model: Arc<str>,
    /// Its place in the order of the model.
    pub place: Place,
}

/// What a fleet's order has for a free worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Offer<T> {
    /// A job, which waits no more.
    Take(Taken<T>),
    /// Nothing for so long, unless something changes.
    Leave(Duration),
    /// Nothing that the worker could draw.
    Nothing,
}

/// A job that a worker took.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken<T> {
    /// Where it waited.
    pub ticket: Ticket,
    /// What the worker has to do first.
    pub effort: Effort,
    /// The job.
    pub job: T,
}

#[derive(Clone, Debug)]
struct ModelOrder<T> {
    order: FairOrder<Waiting<T>>,
    by_loras: HashMap<Arc<str>, BTreeSet<Place>>,
    /// When the jobs were asked for, by their sequence.
    asked: BTreeMap<u64, Duration>,
    /// How many workers have the model loaded.
    loaded_on: usize,
}

/// How a job leaves an order: taken or removed.
type Out<T> = fn(&mut FairOrder<Waiting<T>>, Place) -> Option<Waiting<T>>;

#[derive(Clone, Debug)]
struct Waiting<T> {
    needs: Needs,
    /// When it became its user's first.
    turn: Option<Duration>,
    job: T,
}

impl<T> FleetOrder<T> {
    /// Nobody waits.
    pub fn new(patience: Patience) -> Self {
        Self { patience, models: BTreeMap::new(), len: 0 }
    }

    fn model(&mut self, name: &Arc<str>) -> &mut ModelOrder<T> {
        let new = || ModelOrder { order: FairOrder::new(), by_loras: HashMap::new(), asked: BTreeMap::new(), loaded_on: 0 };
        self.models.entry(name.clone()).or_insert_with(new)
    }

    /// Say on how many workers a model is loaded.
    pub fn set_loaded(&mut self, model: &Arc<str>, workers: usize) {
        self.model(model).loaded_on = workers;
    }

    /// Put a job of a user at the end of what this user waits for in its model.
    pub fn push(&mut self, user: &str, needs: &Needs, now: Duration, job: T) -> Ticket {
        let place = self.model(&needs.model).order.place_of_next(user);
        self.insert(user, needs, place, now, job);
        Ticket { model: needs.model.clone(), place }
    }

    /// Put a job where it was before.
    pub fn insert(&mut self, user: &str, needs: &Needs, place: Place, now: Duration, job: T) {
        let model = self.model(&needs.model);
        model.order.insert(user, place, Waiting { needs: needs.clone(), turn: None, job });
        model.by_loras.entry(needs.loras.clone()).or_default().insert(place);
        model.asked.insert(place.sequence, now);
        model.give_turn(user, now);
        self.len += 1;
    }

    /// Take a job out.
    pub fn remove(&mut self, ticket: &Ticket, now: Duration) -> Option<T> {
        let job = self.models.get_mut(&ticket.model)?.out(ticket.place, now, FairOrder::remove)?;
        self.len -= 1;
        Some(job)
    }

    /// What a free worker takes now.
    pub fn take(&mut self, worker: &WorkerState, now: Duration) -> Offer<T> {
        let candidates: Vec<Candidate<'_>> = self.candidates(worker, now).collect();
        let index = match choose(worker, candidates.iter().copied(), &self.patience) {
            Decision::Take(index) => index,
            Decision::Leave(time) => return Offer::Leave(time),
            Decision::Nothing => return Offer::Nothing,
        };
        let Candidate { place, needs, .. } = candidates[index];
        let ticket = Ticket { model: needs.model.clone(), place };
        let effort = worker.effort(needs).map_or(Effort::Load, |(effort, _)| effort);
        let Some(job) = self.models.get_mut(&ticket.model).and_then(|model| model.out(place, now, FairOrder::take)) else {
            return Offer::Nothing;
        };
        self.len -= 1;
        Offer::Take(Taken { ticket, effort, job })
    }

    /// Of each model its first job, and the first that needs the LoRAs that are applied.
    fn candidates<'a>(&'a self, worker: &'a WorkerState, now: Duration) -> impl Iterator<Item = Candidate<'a>> {
        worker.able().filter_map(|cost| Some((cost, self.models.get(&cost.model)?))).flat_map(move |(cost, model)| {
            let first = model.order.first().map(|(place, _)| place);
            let applied = worker.applied(&cost.model).and_then(|loras| model.by_loras.get(loras)?.first().copied());
            let first_asked = model.asked.first_key_value().map_or(now, |(_, asked)| *asked);
            let candidate = move |place| {
                let Waiting { needs, turn, .. } = model.order.get(place)?;
                let [since_turn, longest_wait] = [turn.unwrap_or(now), first_asked].map(|time| now.saturating_sub(time));
                Some(Candidate { place, needs, since_turn, longest_wait, loaded_elsewhere: model.loaded_on })
            };
            [first, applied].into_iter().flatten().filter_map(candidate)
        })
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T> ModelOrder<T> {
    /// The turn of a user's first job has come.
    fn give_turn(&mut self, user: &str, now: Duration) {
        if let Some(first) = self.order.first_of(user).and_then(|place| self.order.get_mut(place)) {
            first.turn.get_or_insert(now);
        }
    }

    fn out(&mut self, place: Place, now: Duration, how: Out<T>) -> Option<T> {
        let user = self.order.user_of(place)?.to_owned();
        let Waiting { needs, job, .. } = how(&mut self.order, place)?;
        self.asked.remove(&place.sequence);
        if let Some(same) = self.by_loras.get_mut(&needs.loras) {
            same.remove(&place);
            if same.is_empty() {
                self.by_loras.remove(&needs.loras);
            }
        }
        self.give_turn(&user, now);
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jobs::ModelCost;

    const SECOND: Duration = Duration::from_secs(1);
    const MODELS: [&str; 3] = ["small", "middle", "large"];
    const LORAS: [&str; 3] = ["", "ink", "oil"];
    const PATIENCE: Patience = Patience { against_ready: 2.0, against_idle: 1.0, at_most: Duration::from_secs(30) };

    fn needs(model: &str, loras: &str) -> Needs {
        Needs { model: model.into(), loras: loras.into() }
    }

    /// A worker that knows all models, which take 1, 2 and 3 bytes and ten times as many seconds.
    fn worker(memory: u64, loaded: &[Needs]) -> WorkerState {
        let cost = |(model, bytes): (&str, u64)| ModelCost {
            model: model.into(),
            bytes,
            load: Duration::from_secs(10 * bytes),
            switch: 2 * SECOND,
        };
        WorkerState { memory, models: MODELS.into_iter().zip(1..).map(cost).collect(), loaded: loaded.to_vec() }
    }

    fn taken<T>(order: &mut FleetOrder<T>, worker: &WorkerState, now: Duration) -> Option<Taken<T>> {
        if let Offer::Take(taken) = order.take(worker, now) { Some(taken) } else { None }
    }

    #[test]
    fn users_of_a_model_take_turns_and_a_newcomer_comes_second() {
        let (mut order, worker) = (FleetOrder::new(PATIENCE), worker(1, &[needs("small", "")]));
        let small = needs("small", "");
        (0..100).for_each(|job| drop(order.push("anna", &small, SECOND, format!("a{job}"))));
        assert_eq!(taken(&mut order, &worker, SECOND).unwrap().job, "a0");
        (0..2).for_each(|job| drop(order.push("ben", &small, 2 * SECOND, format!("b{job}"))));
        let next: Vec<String> = (0..5).map(|_| taken(&mut order, &worker, 3 * SECOND).unwrap().job).collect();
        assert_eq!(next, ["b0", "a1", "b1", "a2", "a3"]);
    }

    #[test]
    fn what_a_user_had_of_one_model_does_not_count_for_another() {
        let (mut order, worker) = (FleetOrder::new(PATIENCE), worker(1, &[needs("small", "")]));
        for _ in 0..50 {
            order.push("anna", &needs("small", ""), SECOND, ());
            taken(&mut order, &worker, SECOND).unwrap();
        }
        order.push("ben", &needs("large", ""), SECOND, ());
        assert_eq!(order.push("anna", &needs("large", ""), SECOND, ()).place.tag, 0);
        assert_eq!(order.push("anna", &needs("small", ""), SECOND, ()).place.tag, 50);
    }

    #[test]
    fn two_models_on_one_worker_take_turns_in_long_rounds() {
        let (mut order, mut worker) = (FleetOrder::new(PATIENCE), worker(3, &[]));
        for model in ["small", "middle"] {
            (0..200).for_each(|user| drop(order.push(&user.to_string(), &needs(model, ""), SECOND, (user, model))));
        }
        let (mut now, mut loads, mut counts) = (SECOND, 0, BTreeMap::new());
        for _ in 0..400 {
            let Taken { effort, job: (user, model), .. } = taken(&mut order, &worker, now).unwrap();
            loads += usize::from(effort == Effort::Load);
            *counts.entry(model).or_insert(0) += 1;
            worker.loaded = vec![needs(model, "")];
            // Who got a picture asks for the next one.
            order.push(&user.to_string(), &needs(model, ""), now, (user, model));
            now += SECOND;
        }
        assert!((2..20).contains(&loads), "{loads} loads");
        assert!(counts.values().all(|count| *count >= 20), "{counts:?}");
    }

    #[test]
    fn a_job_that_goes_back_keeps_its_place() {
        let (mut order, worker) = (FleetOrder::new(PATIENCE), worker(1, &[needs("small", "")]));
        order.push("anna", &needs("small", ""), SECOND, "a0");
        order.push("anna", &needs("small", ""), SECOND, "a1");
        let first = taken(&mut order, &worker, SECOND).unwrap();
        order.insert("anna", &needs("small", ""), first.ticket.place, 2 * SECOND, first.job);
        assert_eq!(order.len(), 2);
        assert_eq!(taken(&mut order, &worker, 2 * SECOND).unwrap().job, "a0");
        assert_eq!(taken(&mut order, &worker, 2 * SECOND).unwrap().job, "a1");
        assert!(order.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { user: u8, model: usize, loras: usize },
        Remove(prop::sample::Index),
        Take(usize),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_u8, 0..3_usize, 0..3_usize).prop_map(|(user, model, loras)| Step::Push { user, model, loras }),
            1 => any::<prop::sample::Index>().prop_map(Step::Remove),
            3 => (0..4_usize).prop_map(Step::Take),
            2 => (0..20_u64).prop_map(Step::Pass),
        ]
    }

    /// A waiting job as the plain scan knows it.
    struct Plain {
        ticket: Ticket,
        user: String,
        needs: Needs,
        asked: Duration,
        turn: Option<Duration>,
    }

    /// Every user's first job of a model has its turn.
    fn give_turns(plain: &mut [Plain], now: Duration) {
        plain.sort_by(|a, b| (&a.ticket.model, a.ticket.place).cmp(&(&b.ticket.model, b.ticket.place)));
        let mut seen = BTreeSet::new();
        for job in plain {
            if seen.insert((job.user.clone(), job.ticket.model.clone())) {
                job.turn.get_or_insert(now);
            }
        }
    }

    /// Each model's first job.
    fn firsts(plain: &[Plain]) -> impl Iterator<Item = &Plain> {
        let mut seen = BTreeSet::new();
        plain.iter().filter(move |job| seen.insert(job.ticket.model.clone()))
    }

    fn longest_wait(plain: &[Plain], job: &Plain, now: Duration) -> Duration {
        let same = plain.iter().filter(|other| other.needs.model == job.needs.model);
        same.map(|job| now.saturating_sub(job.asked)).max().unwrap_or_default()
    }

    fn since_turn(job: &Plain, now: Duration) -> Duration {
        job.turn.map_or(Duration::ZERO, |turn| now.saturating_sub(turn))
    }

    proptest! {
        #[test]
        fn a_decision_is_the_one_of_a_scan_of_all_that_waits_and_starves_nobody(
            steps in prop::collection::vec(step(), 1..120),
            memories in prop::array::uniform4(1..4_u64),
        ) {
            let mut order = FleetOrder::new(PATIENCE);
            let mut workers = memories.map(|memory| worker(memory, &[]));
            let mut plain: Vec<Plain> = Vec::new();
            let (mut now, mut count) = (SECOND, 0);
            for step in steps {
                for model in MODELS {
                    let loaded_on = workers.iter().filter(|worker| worker.applied(model).is_some()).count();
                    order.set_loaded(&model.into(), loaded_on);
                }
                match step {
                    Step::Pass(seconds) => now += Duration::from_secs(seconds),
                    Step::Push { user, model, loras } => {
                        let (user, needs) = (user.to_string(), needs(MODELS[model], LORAS[loras]));
                        let ticket = order.push(&user, &needs, now, count);
                        count += 1;
                        plain.push(Plain { ticket, user, needs, asked: now, turn: None });
                    }
                    Step::Remove(_) if plain.is_empty() => {}
                    Step::Remove(index) => {
                        let job = plain.remove(index.index(plain.len()));
                        prop_assert!(order.remove(&job.ticket, now).is_some());
                        prop_assert!(order.remove(&job.ticket, now).is_none());
                    }
                    Step::Take(index) => {
                        let others = workers.clone();
                        let worker = &mut workers[index];
                        let candidates = plain.iter().map(|job| Candidate {
                            place: job.ticket.place,
                            needs: &job.needs,
                            since_turn: since_turn(job, now),
                            longest_wait: longest_wait(&plain, job, now),
                            loaded_elsewhere: others.iter().filter(|other| other.applied(&job.needs.model).is_some()).count(),
                        });
                        let decision = choose(worker, candidates, &PATIENCE);
                        match (decision, order.take(worker, now)) {
                            (Decision::Take(index), Offer::Take(taken)) => {
                                let job = plain.remove(index);
                                prop_assert_eq!(&taken.ticket, &job.ticket);
                                prop_assert_eq!(worker.effort(&job.needs).map(|(effort, _)| effort), Some(taken.effort));
                                for other in firsts(&plain).filter(|other| worker.effort(&other.needs).is_some()) {
                                    let Ticket { model, place } = &other.ticket;
                                    if *model != job.ticket.model || *place < job.ticket.place {
                                        prop_assert!(since_turn(other, now) <= since_turn(&job, now) + PATIENCE.at_most);
                                    }
                                }
                                worker.loaded = vec![job.needs];
                            }
                            (Decision::Leave(time), Offer::Leave(same)) => prop_assert_eq!(time, same),
                            (Decision::Nothing, Offer::Nothing) => {}
                            (decision, offer) => prop_assert!(false, "{decision:?} and {offer:?}"),
                        }
                    }
                }
                give_turns(&mut plain, now);
                prop_assert_eq!(order.len(), plain.len());
            }
        }
    }
}
