//! How many jobs somebody may ask for in a minute.

use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::caller::Caller;
use crate::refusal::{Refusal, RefusalKind};

/// How many jobs a key or an address may ask for in a minute.
#[derive(Debug)]
pub(crate) struct JobRates {
    limiter: Option<DefaultKeyedRateLimiter<String>>,
}

/// Above so many callers, those who have been quiet are forgotten.
const MANY: usize = 10_000;

impl JobRates {
    /// `None` for no limit.
    pub(crate) fn new(per_minute: Option<u32>) -> Self {
        let quota = per_minute.and_then(NonZeroU32::new).map(Quota::per_minute);
        Self { limiter: quota.map(RateLimiter::keyed) }
    }

    /// Count a job of a caller.
    ///
    /// # Errors
    /// [`RefusalKind::RateLimited`], with when to ask again.
    pub(crate) fn check(&self, caller: &Caller) -> Result<(), Refusal> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        if limiter.len() > MANY {
            limiter.retain_recent();
        }
        limiter.check_key(&caller.source).map_err(|until| {
            metrics::counter!("studio_jobs_refused").increment(1);
            let wait = until.wait_time_from(DefaultClock::default().now());
            Refusal::new(RefusalKind::RateLimited, "these are more jobs than one may ask for in a minute").retry_after(wait)
        })
    }
}
