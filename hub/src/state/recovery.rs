//! What a restarted hub takes over from the previous one.

use super::jobs::{Identity, Job, Phase};
use super::known::Known;
use super::sessions::Session;
use super::{Hub, Level, Order, ShelfOrder};
use crate::journal::{Entry, Held, Recovered, Resume, Uncollected, Unfinished};
use std::sync::Arc;
use tryworks_base::ids::{JobId, SessionId};
use tryworks_base::{Error, Progress, Result};
use tryworks_protocol::admin::JobRow;
use tryworks_scheduler::{JobSpec, Limits};

impl Hub {
    /// Takes over sessions and jobs. Drivers have the usual grace period to come back, and submit their own jobs again.
    /// Detached jobs begin by themselves, once the engines are back.
    pub(crate) fn recover(&mut self, recovered: Recovered) {
        self.engines.awaited = recovered.engines.into_iter().collect();
        self.known = Known::recovered(recovered.outputs);
        for session in recovered.sessions {
            let mut known = Session::new(session.proof, session.host, self.now);
            known.program = session.program.map(Arc::new);
            if let Some(program) = &known.program {
                self.out.order(Order::Shelf(ShelfOrder::UseAgain(program.clone())));
            }
            self.sessions.all.insert(session.session, known);
        }
        for job in recovered.unfinished {
            self.take_over(job);
        }
        for job in recovered.uncollected {
            self.keep_for_collection(job);
        }
    }

    fn take_over(&mut self, job: Unfinished) {
        let Unfinished { row, session, ticket, detached } = job;
        let id = row.job;
        let Some(owner) = self.sessions.all.get_mut(&session) else {
            // The previous hub noted the end of the session, and died before it noted the end of the job.
            return self.note_end(id, Err(Error::Cancelled));
        };
        match detached {
            None => drop(owner.orphans.insert(ticket, row)),
            Some(Ok(resume)) => {
                owner.tickets.insert(ticket, id);
                self.resume(row, session, ticket, resume);
            }
            Some(Err(error)) => {
                let mut known = ended(row, session, Err(error.clone()), &[], None);
                known.ticket = ticket;
                owner.tickets.insert(ticket, id);
                self.jobs.insert(id, known);
                self.note_end(id, Err(error));
            }
        }
    }

    fn resume(&mut self, row: JobRow, session: SessionId, ticket: u64, resume: Resume) {
        let Resume { submission, held } = resume;
        let id = row.job;
        let mut job = Job::new(session, ticket, row.detached, submission.spec, row.submitted);
        job.identity = Some(Identity { action: submission.action, token: submission.token });
        (job.caches, job.phase) = (submission.caches, Phase::Waiting);
        // Results that stayed with an engine count when an engine offers them.
        job.held = held.iter().filter(|held| held.here).map(|held| held.partition).collect();
        job.progress = self.work_of(&job.spec);
        job.go_on_from(row.submitted, &row.progress);
        let spec = job.spec.clone();
        self.jobs.insert(id, job);
        if let Err(error) = self.learn_codes(id, &spec, submission.codes) {
            self.end_job(id, Err(error));
        }
    }

    fn keep_for_collection(&mut self, job: Uncollected) {
        let Uncollected { row, session, end, held, action } = job;
        let id = row.job;
        let identity = action.map(|(action, token)| Identity { action, token });
        self.jobs.insert(id, ended(row, session, end, &held, identity));
    }

    fn note_end(&mut self, job: JobId, end: Result<()>) {
        let (end, at) = (end.map_err(Box::new), self.clock());
        self.out.note(Entry::JobEnded { job, at, progress: Progress::default(), end });
    }

    /// Gives up engines that were connected when the previous hub died and did not come back in time.
    pub(crate) fn give_up_engines(&mut self) {
        for name in std::mem::take(&mut self.engines.awaited) {
            self.out.log(Level::Warning, format!("the engine `{name}` has not come back"));
            self.out.note(Entry::EngineLost { name });
        }
    }
}

/// A detached job that ended under an earlier hub.
fn ended(row: JobRow, session: SessionId, end: Result<()>, held: &[Held], identity: Option<Identity>) -> Job {
    let spec = JobSpec {
        label: row.label,
        stages: Vec::new(),
        wanted: Vec::new().into_iter().collect(),
        limits: Limits::default(),
        pool: String::new(),
        program: 0,
        delivered: 0,
    };
    let mut job = Job::new(session, 0, row.detached, spec, row.submitted);
    (job.ended, job.progress, job.identity) = (row.ended, row.progress, identity);
    job.results = held.len() as u64;
    job.held = held.iter().filter(|held| held.here).map(|held| held.partition).collect();
    job.kept = held.iter().filter(|held| !held.here).map(|held| (held.partition, held.attempt)).collect();
    // Drivers get the locations of large results when the engines that hold them are back.
    job.phase = if job.kept.is_empty() { Phase::Begun } else { Phase::Waiting };
    job.end = Some(end);
    job
}
