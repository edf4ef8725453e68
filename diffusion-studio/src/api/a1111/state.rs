//! What the protocol stands on, and what it remembers.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::security::Caller;
use crate::studio::Studio;

/// What the protocol stands on, and what it remembers.
#[derive(Clone, Debug)]
pub(super) struct A1111 {
    pub(super) studio: Studio,
    /// The models that callers have chosen as theirs, by owner.
    pub(super) chosen: Cache<String, Arc<str>>,
}

impl A1111 {
    pub(super) fn new(studio: Studio) -> Self {
        /// Callers that are remembered, and for how long.
        const CALLERS: u64 = 10_000;
        const REMEMBERED: Duration = Duration::from_hours(7 * 24);
        Self { studio, chosen: Cache::builder().max_capacity(CALLERS).time_to_idle(REMEMBERED).build() }
    }

    /// The name of the model that a caller draws with, unless a request names one.
    pub(super) fn model_of(&self, caller: &Caller) -> String {
        let chosen = self.chosen.get(&caller.owner).filter(|name| self.studio.registry().model(name).is_some());
        chosen.map_or_else(|| self.studio.registry().default_model().name.clone(), |name| name.to_string())
    }
}
