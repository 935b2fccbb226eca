//! Drivers whose connections are lost. A driver on another machine may have ended, or may only be cut off. The hub
//! cannot tell, so it waits. If the driver is a process of the hub's machine, the hub can look. Drivers whose jobs wait
//! for slots of a lost driver get a message that names it.

use super::Hub;
use super::jobs::Phase;
use super::sessions::{Client, Session};
use std::collections::BTreeSet;
use std::time::Duration;
use tryworks_base::ids::{JobId, SessionId};
use tryworks_protocol::HostInfo;
use tryworks_protocol::driver::ToDriver;
use tryworks_transport::PeerId;

/// A driver gets a message about missing slots after its job has waited this long.
const SHORT_WAIT: Duration = Duration::from_secs(1);

impl Hub {
    /// Closes the connections of drivers that have been silent for too long. Ends the sessions of drivers that did not
    /// come back in time, and orders a look at the processes of the other lost drivers.
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
                Some(_) => self.out.orders.extend(of.process.look(*id)),
                None => {}
            }
        }
        for id in late {
            self.end_session(id);
        }
    }

    /// Takes in whether a process of the hub's machine has ended. An end counts only if the process was seen alive
    /// before. A driver in a container has a process number that may mean another process here, or none.
    pub(crate) fn looked(&mut self, id: SessionId, process: HostInfo, ended: bool) {
        let Some(of) = self.sessions.all.get_mut(&id) else { return };
        match ended {
            false if of.peer.is_some() => of.process.seen = Some(process),
            true if of.lost.is_some() && of.process.seen.as_ref() == Some(&process) => self.end_session(id),
            _ => {}
        }
    }

    /// The name, for people, of a client of the drivers' socket.
    pub(crate) fn client_name(&self, peer: PeerId) -> String {
        match self.sessions.clients.get(&peer) {
            Some(Client::Driver(id)) => {
                let name = self.sessions.all.get(id).map_or("", |session| session.process.name.as_str());
                format!("{id} ({name})")
            }
            Some(Client::Administrator) => "a command line".into(),
            None => "a driver that is gone".into(),
        }
    }

    /// The sessions whose drivers are lost and which have tasks on engines, with the number of those tasks.
    fn missed(&self) -> Vec<(SessionId, u32)> {
        let lost: BTreeSet<_> =
            self.sessions.all.iter().filter(|(_, of)| of.lost.is_some()).map(|(id, _)| *id).collect();
        if lost.is_empty() {
            return Vec::new();
        }
        self.launches.of(&lost).into_iter().collect()
    }

    /// The lost drivers for which a job without slots waits, in words.
    pub(crate) fn waits_for(&self) -> Vec<String> {
        self.missed().into_iter().filter_map(|(session, tasks)| self.in_words(session, tasks)).collect()
    }

    fn in_words(&self, session: SessionId, tasks: u32) -> Option<String> {
        let of = self.sessions.all.get(&session)?;
        let gone = self.now.since(of.lost?);
        let left = self.setup.limits.driver_grace.saturating_sub(gone);
        let seconds = |time: Duration| time.as_millis().div_ceil(1000);
        let who = if of.process.name.is_empty() { "a program from before the hub restarted" } else { &of.process.name };
        let tasks = format!("{tasks} {}", if tasks == 1 { "task" } else { "tasks" });
        let (gone, left) = (seconds(gone), seconds(left));
        Some(format!(
            "{who} was cut off {gone} s ago and has {tasks} on engines; they end if it is not back in {left} s"
        ))
    }

    /// Tells each driver whose jobs wait for slots, once for each job, which lost driver holds slots. A short wait is
    /// not worth a message: the lost driver may just have ended, which frees its slots at once.
    pub(crate) fn tell_of_missed(&mut self) {
        let (now, clock) = (self.now, self.clock());
        let long = |of: &Session| of.lost.is_some_and(|since| now.since(since) >= SHORT_WAIT);
        for (missed, tasks) in self.missed() {
            let of = self.sessions.all.get(&missed).filter(|of| long(of));
            let (Some(of), Some(words)) = (of, self.in_words(missed, tasks)) else { continue };
            let waits = |id: &JobId| self.scheduler.progress(*id).is_some_and(|now| now.tasks_running == 0);
            let jobs = self.jobs.iter().filter(|(id, job)| {
                job.session != missed
                    && job.phase == Phase::Begun
                    && job.end.is_none()
                    && Duration::from_micros(clock.saturating_sub(job.submitted)) >= SHORT_WAIT
                    && !of.process.notified.contains(id)
            });
            let jobs: Vec<_> = jobs.map(|(id, _)| *id).filter(waits).collect();
            for id in &jobs {
                self.tell_job(*id, |_| ToDriver::Notice(format!("{id} waits for slots: {words}")));
            }
            if let Some(of) = self.sessions.all.get_mut(&missed) {
                of.process.notified.extend(jobs);
            }
        }
    }
}
