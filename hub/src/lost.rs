//! Drivers whose connections are lost. The hub cannot know whether one of another machine was cut off or has ended, so it
//! waits; a process of its own machine it can look at. Who waits for slots meanwhile is told for whom.

use crate::hub::{Client, Hub};
use crate::jobs::Phase;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tryworks_base::ids::{JobId, SessionId};
use tryworks_protocol::HostInfo;
use tryworks_protocol::driver::ToDriver;
use tryworks_protocol::host::has_ended;
use tryworks_transport::PeerId;

/// The process of a driver.
#[derive(Default)]
pub(crate) struct Process {
    /// What people know it by.
    name: String,
    /// It is of this machine, and was alive when it said hello.
    seen: Option<HostInfo>,
    /// The jobs that were told that they wait for it.
    pub(crate) told: BTreeSet<JobId>,
}

impl Process {
    /// The process that has said hello from there.
    pub(crate) fn of(host: &HostInfo) -> Self {
        let seen = (has_ended(host) == Some(false)).then(|| host.clone());
        Process { name: format!("process {} on {}", host.pid, host.name), seen, told: BTreeSet::new() }
    }

    fn has_ended(&self) -> bool {
        self.seen.as_ref().is_some_and(|process| has_ended(process) == Some(true))
    }
}

impl Hub {
    /// Gives up connections of drivers that say nothing, and the sessions of those that have ended or did not come back
    /// in time.
    pub(crate) fn drop_lost_drivers(&mut self) {
        let silence = self.limits.driver_silence;
        let silent = self.sessions.values().filter(|session| session.heard.elapsed() > silence);
        let silent: Vec<_> = silent.filter_map(|session| session.peer).collect();
        for peer in silent {
            self.client_gone(peer);
            self.hang_up_clients.push(peer);
        }
        let grace = self.limits.driver_grace;
        let over = |since: Instant, process: &Process| since.elapsed() >= grace || process.has_ended();
        let late = self.sessions.iter().filter(|(_, of)| of.lost.is_some_and(|since| over(since, &of.process)));
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.end_session(id));
    }

    /// Who has a connection to the drivers' socket, in words.
    pub(crate) fn client_name(&self, peer: PeerId) -> String {
        match self.clients.get(&peer) {
            Some(Client::Driver(id)) => {
                let name = self.sessions.get(id).map_or("", |session| session.process.name.as_str());
                format!("{id} ({name})")
            }
            Some(Client::Administrator) => "somebody who asks the hub".into(),
            None => "a driver that is gone".into(),
        }
    }

    /// The drivers that are missed, with how many tasks of theirs engines have.
    fn missed(&self) -> Vec<(SessionId, u32)> {
        let lost: BTreeSet<_> = self.sessions.iter().filter(|(_, of)| of.lost.is_some()).map(|(id, _)| *id).collect();
        if lost.is_empty() {
            return Vec::new();
        }
        let mut out = BTreeMap::<_, u32>::new();
        for launched in self.launched.values().filter(|launched| lost.contains(&launched.session)) {
            *out.entry(launched.session).or_default() += 1;
        }
        out.into_iter().collect()
    }

    /// Whom a job waits for that waits for slots, if that is drivers that are missed.
    pub(crate) fn waits_for(&self) -> Vec<String> {
        self.missed().into_iter().filter_map(|(session, tasks)| self.in_words(session, tasks)).collect()
    }

    fn in_words(&self, session: SessionId, tasks: u32) -> Option<String> {
        let of = self.sessions.get(&session)?;
        let gone = of.lost?.elapsed();
        let left = self.limits.driver_grace.saturating_sub(gone);
        let seconds = |time: Duration| time.as_millis().div_ceil(1000);
        let who = if of.process.name.is_empty() { "a program of the hub before this one" } else { &of.process.name };
        let tasks = format!("{tasks} {}", if tasks == 1 { "task" } else { "tasks" });
        let (gone, left) = (seconds(gone), seconds(left));
        Some(format!("{who} was cut off {gone} s ago and has {tasks} out; they end if it is not back in {left} s"))
    }

    /// Tells drivers whose jobs wait for slots, each once, that somebody has them who is missed.
    pub(crate) fn tell_of_missed(&mut self) {
        for (missed, tasks) in self.missed() {
            let (Some(of), Some(words)) = (self.sessions.get(&missed), self.in_words(missed, tasks)) else { continue };
            let waits = |id: &JobId| self.scheduler.progress(*id).is_some_and(|now| now.tasks_running == 0);
            let jobs = self.jobs.iter().filter(|(id, job)| {
                job.session != missed && job.phase == Phase::Begun && job.end.is_none() && !of.process.told.contains(id)
            });
            let jobs: Vec<_> = jobs.map(|(id, _)| *id).filter(waits).collect();
            for id in &jobs {
                self.tell_job(*id, |_| ToDriver::Notice(format!("{id} waits for slots: {words}")));
            }
            if let Some(of) = self.sessions.get_mut(&missed) {
                of.process.told.extend(jobs);
            }
        }
    }
}
