//! Drivers whose connections are lost. The hub cannot know whether one of another machine was cut off or has ended, so it
//! waits; a process of its own machine it can look at. Who waits for slots meanwhile is told for whom.

use super::jobs::Phase;
use super::sessions::Client;
use super::{Hub, Order};
use std::collections::BTreeSet;
use std::time::Duration;
use tryworks_base::ids::{JobId, SessionId};
use tryworks_protocol::HostInfo;
use tryworks_protocol::driver::ToDriver;
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
        Process { name: format!("process {} on {}", host.pid, host.name), seen: None, told: BTreeSet::new() }
    }
}

impl Hub {
    /// Gives up connections of drivers that say nothing, and the sessions of those that have ended or did not come back
    /// in time.
    pub(crate) fn drop_lost_drivers(&mut self) {
        for peer in self.sessions.silent(self.now, self.setup.limits.driver_silence) {
            self.lose_client(peer);
            self.out.hang_up_clients.push(peer);
        }
        let grace = self.setup.limits.driver_grace;
        let mut late = Vec::new();
        for (id, of) in &self.sessions.all {
            match of.lost {
                Some(since) if self.now.since(since) >= grace => late.push(*id),
                Some(_) => {
                    let look = of.process.seen.clone().map(|process| Order::LookAt { session: *id, process });
                    look.into_iter().for_each(|look| self.out.order(look));
                }
                None => {}
            }
        }
        late.into_iter().for_each(|id| self.end_session(id));
    }

    /// A process of the hub's machine was looked at. Only one that was seen alive can be seen to have ended: in a container
    /// of its own it may have a number that means another process here, or none.
    pub(crate) fn looked(&mut self, id: SessionId, process: HostInfo, ended: bool) {
        let Some(of) = self.sessions.all.get_mut(&id) else { return };
        match ended {
            false if of.peer.is_some() => of.process.seen = Some(process),
            true if of.lost.is_some() && of.process.seen.as_ref() == Some(&process) => self.end_session(id),
            _ => {}
        }
    }

    /// Who has a connection to the drivers' socket, in words.
    pub(crate) fn client_name(&self, peer: PeerId) -> String {
        match self.sessions.clients.get(&peer) {
            Some(Client::Driver(id)) => {
                let name = self.sessions.all.get(id).map_or("", |session| session.process.name.as_str());
                format!("{id} ({name})")
            }
            Some(Client::Administrator) => "somebody who asks the hub".into(),
            None => "a driver that is gone".into(),
        }
    }

    /// The drivers that are missed, with how many tasks of theirs engines have.
    fn missed(&self) -> Vec<(SessionId, u32)> {
        let lost: BTreeSet<_> =
            self.sessions.all.iter().filter(|(_, of)| of.lost.is_some()).map(|(id, _)| *id).collect();
        if lost.is_empty() {
            return Vec::new();
        }
        self.launches.of(&lost).into_iter().collect()
    }

    /// Whom a job waits for that waits for slots, if that is drivers that are missed.
    pub(crate) fn waits_for(&self) -> Vec<String> {
        self.missed().into_iter().filter_map(|(session, tasks)| self.in_words(session, tasks)).collect()
    }

    fn in_words(&self, session: SessionId, tasks: u32) -> Option<String> {
        let of = self.sessions.all.get(&session)?;
        let gone = self.now.since(of.lost?);
        let left = self.setup.limits.driver_grace.saturating_sub(gone);
        let seconds = |time: Duration| time.as_millis().div_ceil(1000);
        let who = if of.process.name.is_empty() { "a program of the hub before this one" } else { &of.process.name };
        let tasks = format!("{tasks} {}", if tasks == 1 { "task" } else { "tasks" });
        let (gone, left) = (seconds(gone), seconds(left));
        Some(format!("{who} was cut off {gone} s ago and has {tasks} out; they end if it is not back in {left} s"))
    }

    /// Tells drivers whose jobs wait for slots, each once, that somebody has them who is missed.
    pub(crate) fn tell_of_missed(&mut self) {
        for (missed, tasks) in self.missed() {
            let (Some(of), Some(words)) = (self.sessions.all.get(&missed), self.in_words(missed, tasks)) else {
                continue;
            };
            let waits = |id: &JobId| self.scheduler.progress(*id).is_some_and(|now| now.tasks_running == 0);
            let jobs = self.jobs.iter().filter(|(id, job)| {
                job.session != missed && job.phase == Phase::Begun && job.end.is_none() && !of.process.told.contains(id)
            });
            let jobs: Vec<_> = jobs.map(|(id, _)| *id).filter(waits).collect();
            for id in &jobs {
                self.tell_job(*id, |_| ToDriver::Notice(format!("{id} waits for slots: {words}")));
            }
            if let Some(of) = self.sessions.all.get_mut(&missed) {
                of.process.told.extend(jobs);
            }
        }
    }
}
