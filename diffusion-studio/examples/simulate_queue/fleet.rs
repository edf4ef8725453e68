//! Workers that are simulated.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use diffusion_studio::jobs::{Effort, ModelCost, Needs, WorkerState};

/// Of ten workers, so many have so many GiB.
const MEMORIES: [(usize, u64); 3] = [(2, 12), (5, 24), (3, 80)];

/// Idle workers, the one that is idle longest first.
type Idle = BTreeSet<(u64, usize)>;

/// All workers, and which of them are idle.
#[derive(Debug)]
pub(crate) struct Fleet {
    workers: Vec<Worker>,
    /// By memory, the smallest first.
    idle: [Idle; MEMORIES.len()],
    idle_with_model: HashMap<Arc<str>, Idle>,
    idle_with_loras: HashMap<Needs, Idle>,
    loaded: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Worker {
    /// Its models are in the order of their use, the last one last.
    state: WorkerState,
    memory: usize,
    idle_since: Option<u64>,
}

/// Which idle worker looks first when a job comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstLook {
    /// One that has what the job needs, then one that has its model, then the smallest that could load it.
    Prepared,
    /// The one that is idle longest.
    Longest,
}

impl Fleet {
    pub(crate) fn new(len: usize, costs: &Arc<[ModelCost]>) -> Self {
        let memory = |index: usize| {
            let mut below = 0;
            MEMORIES
                .iter()
                .position(|(count, _)| {
                    below += count;
                    index % 10 < below
                })
                .unwrap_or(0)
        };
        let worker = |index| Worker {
            state: WorkerState { memory: MEMORIES[memory(index)].1 << 30, models: costs.clone(), loaded: Vec::new() },
            memory: memory(index),
            idle_since: None,
        };
        let workers = (0..len).map(worker).collect();
        let mut fleet = Self {
            workers,
            idle: Default::default(),
            idle_with_model: HashMap::new(),
            idle_with_loras: HashMap::new(),
            loaded: HashMap::new(),
        };
        (0..len).for_each(|index| fleet.rest(index, 0));
        fleet
    }

    pub(crate) fn state(&self, worker: usize) -> &WorkerState {
        &self.workers[worker].state
    }

    /// How many workers have a model loaded.
    pub(crate) fn loaded(&self, model: &str) -> usize {
        self.loaded.get(model).copied().unwrap_or(0)
    }

    /// A worker has nothing to do.
    pub(crate) fn rest(&mut self, index: usize, now: u64) {
        let worker = &mut self.workers[index];
        worker.idle_since = Some(now);
        let key = (now, index);
        self.idle[worker.memory].insert(key);
        for needs in &worker.state.loaded {
            self.idle_with_model.entry(needs.model.clone()).or_default().insert(key);
            self.idle_with_loras.entry(needs.clone()).or_default().insert(key);
        }
    }

    fn rest_no_more(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        let Some(since) = worker.idle_since.take() else { return };
        let key = (since, index);
        self.idle[worker.memory].remove(&key);
        for needs in &worker.state.loaded {
            self.idle_with_model.entry(needs.model.clone()).or_default().remove(&key);
            self.idle_with_loras.entry(needs.clone()).or_default().remove(&key);
        }
    }

    /// The idle worker that looks first at a job.
    pub(crate) fn first_look(&self, needs: &Needs, cost: &ModelCost, how: FirstLook) -> Option<usize> {
        let mut able =
            self.idle.iter().zip(MEMORIES).filter(|(_, (_, gib))| cost.bytes <= gib << 30).filter_map(|(idle, _)| idle.first());
        let found = match how {
            FirstLook::Longest => able.min(),
            FirstLook::Prepared => {
                let prepared = self.idle_with_loras.get(needs).and_then(Idle::last);
                prepared.or_else(|| self.idle_with_model.get(&needs.model).and_then(Idle::first)).or_else(|| able.next())
            }
        };
        found.map(|(_, worker)| *worker)
    }

    /// A worker makes itself ready for a job: how long that takes.
    pub(crate) fn prepare(&mut self, index: usize, needs: &Needs) -> (Effort, Duration) {
        self.rest_no_more(index);
        let state = &mut self.workers[index].state;
        let (effort, time) = state.effort(needs).unwrap_or((Effort::Load, Duration::ZERO));
        state.loaded.retain(|loaded| loaded.model != needs.model);
        state.loaded.push(needs.clone());
        if effort == Effort::Load {
            *self.loaded.entry(needs.model.clone()).or_default() += 1;
            while used(state) > state.memory {
                let evicted = state.loaded.remove(0);
                *self.loaded.entry(evicted.model).or_default() -= 1;
            }
        }
        (effort, time)
    }
}

/// Bytes that are in use.
fn used(state: &WorkerState) -> u64 {
    let bytes = |needs: &Needs| state.models.iter().find(|cost| cost.model == needs.model).map_or(0, |cost| cost.bytes);
    state.loaded.iter().map(bytes).sum()
}
