//! What a run says about waiting and work.

use std::fmt;

use crate::run::Outcome;
use crate::workload::Workload;

/// Jobs at the start of a run that do not count, as a share: workers load their first models.
const WARM_UP: f64 = 0.1;

/// Users by what they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    /// All of them.
    All,
    /// Nine of ten, those who ask for least.
    Light,
    /// Nine of a hundred.
    Middle,
    /// One of a hundred, those who ask for most.
    Heavy,
}

impl Users {
    pub(crate) const EACH: [Self; 4] = [Self::All, Self::Light, Self::Middle, Self::Heavy];
}

/// Seconds of waiting.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

/// A run in numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// As in [`Users::EACH`].
    waits: [Waits; 4],
    pub(crate) loads_per_job: f64,
    pub(crate) switches_per_job: f64,
    /// Shares of the workers' time.
    pub(crate) drawing: f64,
    pub(crate) preparing: f64,
}

impl Report {
    pub(crate) fn new(workload: &Workload, workers: usize, outcome: &Outcome) -> Self {
        let mut asked = vec![0_usize; workload.users];
        workload.jobs.iter().for_each(|job| asked[job.user as usize] += 1);
        let mut ranked: Vec<usize> = (0..asked.len()).collect();
        ranked.sort_by_key(|user| std::cmp::Reverse(asked[*user]));
        let mut kinds = vec![Users::Light; asked.len()];
        for (rank, user) in ranked.into_iter().enumerate() {
            let share = rank as f64 / asked.len() as f64;
            kinds[user] = if share < 0.01 {
                Users::Heavy
            } else if share < 0.1 {
                Users::Middle
            } else {
                Users::Light
            };
        }
        let jobs = workload.jobs.iter().zip(&outcome.waits).skip((WARM_UP * workload.jobs.len() as f64) as usize);
        let mut by_kind = [const { Vec::new() }; 4];
        for (job, wait) in jobs {
            let kind = kinds[job.user as usize];
            for (waits, _) in by_kind.iter_mut().zip(Users::EACH).filter(|(_, each)| [Users::All, kind].contains(each)) {
                waits.push(*wait);
            }
        }
        let (jobs, time) = (outcome.waits.len() as f64, outcome.end as f64 * workers as f64);
        Self {
            waits: by_kind.map(Waits::new),
            loads_per_job: outcome.loads as f64 / jobs,
            switches_per_job: outcome.switches as f64 / jobs,
            drawing: outcome.drawing as f64 / time,
            preparing: outcome.preparing as f64 / time,
        }
    }

    pub(crate) fn waits(&self, users: Users) -> Waits {
        self.waits[users as usize]
    }
}

impl Waits {
    fn new(mut waits: Vec<u64>) -> Self {
        waits.sort_unstable();
        let Some(longest) = waits.last() else { return Self::default() };
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize] as f64 / 1e6;
        Self {
            mean: waits.iter().sum::<u64>() as f64 / waits.len() as f64 / 1e6,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            longest: *longest as f64 / 1e6,
        }
    }
}

/// Head of the table: times are seconds, shares are of all workers' time, and the last column is what the run took.
pub(crate) const HEAD: &str = "\
| Workers | Load | Policy | Mean wait | Light: p50, p95, p99 | Middle | Heavy | Longest \
| Loads per job | Switches per job | Drawing | Preparing | Run |
|---|---|---|---|---|---|---|---|---|---|---|---|---|";

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.waits(Users::All);
        write!(out, "{} |", seconds(all.mean))?;
        for users in [Users::Light, Users::Middle, Users::Heavy] {
            let Waits { p50, p95, p99, .. } = self.waits(users);
            write!(out, " {}, {}, {} |", seconds(p50), seconds(p95), seconds(p99))?;
        }
        write!(out, " {} | {:.4} | {:.4} |", seconds(all.longest), self.loads_per_job, self.switches_per_job)?;
        write!(out, " {:.1} % | {:.1} %", 100.0 * self.drawing, 100.0 * self.preparing)
    }
}

/// Seconds with as many digits as say something.
fn seconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.1}") } else { format!("{seconds:.0}") }
}
