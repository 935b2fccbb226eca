//! The driver's handle of a job of the local runtime.

use super::state::Shared;
use crate::execute::Part;
use crate::panics;
use crate::screen::Shown;
use std::collections::VecDeque;
use std::sync::Arc;
use tryworks_base::ids::JobId;
use tryworks_base::lock::Lock;
use tryworks_base::{Op, Progress, Result, TaskSite};
use tryworks_core::runner::JobControl;
use tryworks_core::stage::ResultValue;

pub(super) struct LocalJob {
    id: JobId,
    /// The action.
    op: Op,
    shared: Arc<Shared>,
    screen: Arc<Shown>,
    /// Results that were taken from the shared state and not returned yet.
    fetched: Lock<VecDeque<Part>>,
}

impl LocalJob {
    pub(super) fn new(id: JobId, op: Op, shared: Arc<Shared>, screen: Arc<Shown>) -> Self {
        LocalJob { id, op, shared, screen, fetched: Lock::default() }
    }
}

/// A result as the action takes it: from here on, the program drops it.
fn unshielded((partition, value): Part) -> (u32, Box<dyn ResultValue>) {
    (partition, value.into_inner())
}

impl JobControl for LocalJob {
    fn id(&self) -> u64 {
        self.id.0
    }

    fn next(&self) -> Result<Option<(u32, Box<dyn ResultValue>)>> {
        let ready = self.fetched.lock().pop_front();
        if ready.is_some() {
            return Ok(ready.map(unshielded));
        }
        let more = self.shared.wait_for_results(self.id)?;
        let mut fetched = self.fetched.lock();
        fetched.extend(more);
        Ok(fetched.pop_front().map(unshielded))
    }

    fn cancel(&self) {
        self.shared.cancel(self.id);
    }

    fn guard(&self, code: &mut dyn FnMut()) -> Result<()> {
        let place = TaskSite { job: self.id.0, ..TaskSite::default() };
        panics::guard(self.op, place, code)
    }

    fn progress(&self) -> Progress {
        self.shared.progress(self.id)
    }
}

impl Drop for LocalJob {
    fn drop(&mut self) {
        self.shared.forget(self.id);
        self.screen.job_over();
    }
}
