//! Excludes engines on which many different tasks fail, for a while and only as long as there are other engines.

use super::{Scheduler, Time, action::Action, slab::StageKey};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tryworks_base::ids::EngineId;

/// When an engine is excluded. A fetch failure is not blamed on the engine that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// This many different tasks that return an error, panic or kill their worker there,
    pub failures: u32,
    /// within this time,
    pub window: Duration,
    /// exclude it for this long.
    pub lasts: Duration,
}

impl<E: Clone> Scheduler<E> {
    /// A task failed on the engine in this row, and the engine may be to blame.
    pub(super) fn blame(&mut self, row: u32, key: StageKey, task: u32, out: &mut Vec<Action<E>>) {
        let Some(rule) = self.config.exclusion else { return };
        let Some(engine) = self.engines.get_mut(row).filter(|engine| engine.excluded.is_none()) else { return };
        engine.faults.retain(|&(at, ..)| self.now.since(at) <= rule.window);
        if !engine.faults.iter().any(|&(_, stage, first)| (stage, first) == (key, task)) {
            engine.faults.push((self.now, key, task));
        }
        if engine.faults.len() as u32 >= rule.failures.max(1) {
            engine.faults = Vec::new();
            let until = self.now + rule.lasts;
            self.engines.exclude(row, Some(until));
            out.push(Action::WakeAt { time: until });
        }
    }

    /// Ends exclusions whose time is over. If only exclusions keep all engines from taking tasks, the one that would
    /// end first ends at once.
    pub(super) fn include(&mut self) {
        while let Some((until, row)) = self.engines.first_excluded()
            && (until <= self.now || !self.engines.any_open())
        {
            self.engines.exclude(row, None);
        }
    }

    /// Until when an engine is excluded because of tasks that failed there; `None` if it is not.
    pub fn excluded_until(&self, engine: EngineId) -> Option<Time> {
        self.engines.get(self.engines.row_of(engine)?)?.excluded
    }
}
