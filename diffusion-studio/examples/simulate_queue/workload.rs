//! Who asks for what, and when.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use diffusion_studio::jobs::{ModelCost, Needs};

/// A model of the simulation.
struct Model {
    name: &'static str,
    gib: u64,
    /// Seconds of a picture.
    draw: f64,
    /// Share of it in what people ask for.
    share: f64,
}

/// Sizes are those of the published files at 16 and 8 bits; seconds are assumed, not measured.
const MODELS: [Model; 6] = [
    Model { name: "sd3-medium", gib: 6, draw: 4.0, share: 0.25 },
    Model { name: "sd3.5-medium", gib: 8, draw: 6.0, share: 0.2 },
    Model { name: "sd3.5-large-turbo", gib: 17, draw: 2.5, share: 0.1 },
    Model { name: "sd3.5-large", gib: 17, draw: 12.0, share: 0.1 },
    Model { name: "flux-schnell", gib: 23, draw: 3.0, share: 0.15 },
    Model { name: "flux-dev", gib: 23, draw: 14.0, share: 0.2 },
];
/// Seconds to load a GiB, and to switch LoRAs.
const LOAD_SECONDS: f64 = 1.0;
const SWITCH_SECONDS: f64 = 1.5;
/// Sets of LoRAs of a model, the first of which is none.
pub(crate) const LORA_SETS: usize = 21;
/// Share of jobs without LoRAs, and of jobs with the model that their user likes most.
const PLAIN_SHARE: f64 = 0.5;
const FAVOURITE_SHARE: f64 = 0.5;
/// Share of times when somebody asks for more than one picture, and how many it is then on average.
const BATCH_SHARE: f64 = 0.1;
const BATCH_MEAN: f64 = 8.0;
/// Waves of demand in a run, how far they go from the mean, and a burst in each: share of the wave, and times the mean.
const WAVES: f64 = 5.0;
const WAVE_HEIGHT: f64 = 0.3;
const BURST_SHARE: f64 = 0.02;
const BURST_HEIGHT: f64 = 2.0;

/// Random numbers.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// In [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn is_in(&mut self, share: f64) -> bool {
        self.uniform() < share
    }
}

/// Numbers with weights.
struct Weighted(Vec<f64>);

impl Weighted {
    fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        Self(
            weights
                .map(|weight| {
                    sum += weight;
                    sum
                })
                .collect(),
        )
    }

    /// Zipf's law with exponent 1: the k-th is drawn 1 / k times as often as the first.
    fn zipf(len: usize) -> Self {
        Self::new((1..=len).map(|rank| 1.0 / rank as f64))
    }

    fn pick(&self, random: &mut Random) -> usize {
        let at = random.uniform() * self.0.last().copied().unwrap_or(0.0);
        self.0.partition_point(|sum| *sum <= at).min(self.0.len() - 1)
    }
}

/// A job before anything happened to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Microseconds since the start.
    pub(crate) at: u64,
    pub(crate) user: u32,
    /// Index into [`Workload::needs`].
    pub(crate) needs: u32,
    /// Microseconds of drawing.
    pub(crate) draw: u64,
}

/// All jobs of a run.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) costs: Arc<[ModelCost]>,
    /// Models, each with all its sets of LoRAs.
    pub(crate) needs: Vec<Needs>,
    /// In the order of time.
    pub(crate) jobs: Vec<Asked>,
    pub(crate) users: usize,
}

/// How much is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) jobs: usize,
    pub(crate) users: usize,
    pub(crate) workers: usize,
    /// Time of drawing over the time of all workers.
    pub(crate) load: f64,
}

impl Workload {
    pub(crate) fn new(demand: Demand, random: &mut Random) -> Self {
        let costs = MODELS.iter().map(|model| ModelCost {
            model: model.name.into(),
            bytes: model.gib << 30,
            load: Duration::from_secs_f64(LOAD_SECONDS * model.gib as f64),
            switch: Duration::from_secs_f64(SWITCH_SECONDS),
        });
        let costs: Arc<[ModelCost]> = costs.collect();
        let loras = |set: usize| if set == 0 { String::new() } else { format!("set {set}") };
        let needs = costs
            .iter()
            .flat_map(|cost| (0..LORA_SETS).map(move |set| Needs { model: cost.model.clone(), loras: loras(set).into() }));
        let mut jobs = Vec::with_capacity(demand.jobs);
        let mut times = Vec::new();
        let (by_users, by_models) = (Weighted::zipf(demand.users), Weighted::new(MODELS.iter().map(|model| model.share)));
        let by_loras = Weighted::zipf(LORA_SETS - 1);
        let favourites: Vec<usize> = (0..demand.users).map(|_| by_models.pick(random)).collect();
        while jobs.len() < demand.jobs {
            let user = by_users.pick(random);
            let model = if random.is_in(FAVOURITE_SHARE) { favourites[user] } else { by_models.pick(random) };
            let set = if random.is_in(PLAIN_SHARE) { 0 } else { 1 + by_loras.pick(random) };
            let pictures = if random.is_in(BATCH_SHARE) { 1.0 - (1.0 - random.uniform()).ln() * BATCH_MEAN } else { 1.0 };
            for _ in 0..(pictures as usize).min(demand.jobs - jobs.len()) {
                let draw = MODELS[model].draw * (0.5 + random.uniform());
                let needs = (model * LORA_SETS + set) as u32;
                jobs.push(Asked { at: times.len() as u64, user: user as u32, needs, draw: (draw * 1e6) as u64 });
            }
            times.push(moment(random));
        }
        times.sort_by(f64::total_cmp);
        let work: u64 = jobs.iter().map(|job| job.draw).sum();
        let length = work as f64 / (demand.load * demand.workers as f64);
        for job in &mut jobs {
            job.at = (times[job.at as usize] * length) as u64;
        }
        Self { needs: needs.collect(), costs, jobs, users: demand.users }
    }
}

/// When something is asked for, as a share of the run: Poisson arrivals with a rate that goes up and down and has bursts.
fn moment(random: &mut Random) -> f64 {
    loop {
        let at = random.uniform();
        let burst = if (at * WAVES).fract() < BURST_SHARE { BURST_HEIGHT } else { 0.0 };
        let rate = 1.0 + WAVE_HEIGHT * (TAU * WAVES * at).sin() + burst;
        if random.is_in(rate / (1.0 + WAVE_HEIGHT + BURST_HEIGHT)) {
            return at;
        }
    }
}
