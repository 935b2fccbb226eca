//! A driver's session: what it holds, how it survives a lost connection, and how it ends.

use super::cancelled::CancelledJobs;
use super::{Hub, Order, ShelfOrder};
use crate::journal::{Entry, Proof};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tryworks_base::ids::{GlobalCacheId, JobId, OutputId, SessionId};
use tryworks_base::{Error, Progress};
use tryworks_protocol::HostInfo;
use tryworks_protocol::admin::JobRow;
use tryworks_protocol::driver::ToDriver;
use tryworks_protocol::engine::{CodeBytes, CodeId, ToEngine};
use tryworks_protocol::program::Program;
use tryworks_scheduler::{Event, Time};
use tryworks_transport::PeerId;

/// A driver's session.
pub(crate) struct Session {
    /// Its connection, while it has one.
    pub(crate) peer: Option<PeerId>,
    /// What the driver's secret is compared with.
    pub(crate) proof: Proof,
    /// The program that its workers run, once the hub has it.
    pub(crate) program: Option<Arc<Program>>,
    /// The program, while it is still being uploaded from another machine.
    pub(crate) expected: Option<Arc<Program>>,
    /// The hashes of files that the driver uploaded.
    pub(crate) given: BTreeSet<[u8; 32]>,
    /// The machine of its driver.
    pub(crate) host: String,
    /// The driver itself.
    pub(crate) process: Process,
    /// The jobs whose results the driver waits for, by its tickets.
    pub(crate) tickets: BTreeMap<u64, JobId>,
    /// Jobs that ran when the previous hub died and that the driver has not submitted again.
    pub(crate) orphans: BTreeMap<u64, JobRow>,
    /// When the driver last said something.
    pub(crate) heard: Time,
    /// Since when the driver has no connection.
    pub(crate) lost: Option<Time>,
    /// The exchanges that the driver holds, as it told this hub. `None` if the session is from an earlier hub and its
    /// driver has not reconnected yet.
    pub(crate) names: Option<BTreeSet<OutputId>>,
    /// The driver has left. The session stays open for its detached jobs.
    pub(crate) left: bool,
    /// The cancelled jobs that the driver's next notice reports.
    pub(crate) cancelled: CancelledJobs,
}

impl Session {
    /// A session whose driver is not connected.
    pub(crate) fn new(proof: Proof, host: String, now: Time) -> Self {
        Session {
            peer: None,
            proof,
            program: None,
            expected: None,
            given: BTreeSet::new(),
            host,
            process: Process::default(),
            tickets: BTreeMap::new(),
            orphans: BTreeMap::new(),
            heard: now,
            lost: Some(now),
            names: None,
            left: false,
            cancelled: CancelledJobs::default(),
        }
    }
}

/// The process of a driver, as far as the hub knows it.
#[derive(Default)]
pub(crate) struct Process {
    /// How messages to people name it.
    pub(super) name: String,
    /// Set once the hub has seen the process alive on its own machine.
    pub(super) seen: Option<HostInfo>,
    /// The jobs whose drivers already have a message that the job waits for this driver.
    pub(crate) notified: BTreeSet<JobId>,
}

impl Process {
    /// The process that said hello from this host.
    pub(crate) fn of(host: &HostInfo) -> Self {
        Process { name: format!("process {} on {}", host.pid, host.name), seen: None, notified: BTreeSet::new() }
    }

    /// The order to see whether the process has ended, if the hub can see it.
    pub(super) fn look(&self, session: SessionId) -> Option<Order> {
        self.seen.clone().map(|process| Order::LookAt { session, process })
    }
}

/// The process at the other end of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// A driver.
    Driver(SessionId),
    /// The command line.
    Administrator,
}

/// The sessions of drivers, and the connections of clients.
#[derive(Default)]
pub(crate) struct Sessions {
    pub(crate) all: BTreeMap<SessionId, Session>,
    pub(crate) clients: BTreeMap<PeerId, Client>,
    /// Sessions whose drivers have a notice about cancelled jobs coming.
    pub(crate) to_tell: BTreeSet<SessionId>,
    /// Sessions of earlier hubs that have ended: their drivers must not continue them.
    pub(crate) ended: BTreeSet<SessionId>,
}

impl Sessions {
    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.all.keys().copied().collect()
    }

    /// Whether a driver may still ask for a job that this hub does not know. It may if it has not reconnected since the
    /// restart. It also may if the journal says that the job waits for this driver.
    pub(crate) fn may_ask_for(&self, id: SessionId, job: JobId) -> bool {
        let orphan = |session: &Session| session.orphans.values().any(|row| row.job == job);
        self.all.get(&id).is_some_and(|session| session.names.is_none() || orphan(session))
    }

    pub(crate) fn is_connected(&self, id: SessionId) -> bool {
        self.all.get(&id).is_some_and(|session| session.peer.is_some())
    }

    /// The connections of drivers that have said nothing for longer than `silence`.
    pub(crate) fn silent(&self, now: Time, silence: Duration) -> Vec<PeerId> {
        let silent = self.all.values().filter(|session| now.since(session.heard) > silence);
        silent.filter_map(|session| session.peer).collect()
    }
}

impl Hub {
    /// A driver that was cut off says what it still holds. Everything else is released: releases that the driver sent
    /// while it was disconnected were lost.
    pub(crate) fn let_go(&mut self, id: SessionId, tickets: &[u64], outputs: &[OutputId], caches: &[GlobalCacheId]) {
        let Some(session) = self.sessions.all.get_mut(&id) else { return };
        let tickets: BTreeSet<_> = tickets.iter().copied().collect();
        let gone: Vec<_> = session.tickets.keys().copied().filter(|ticket| !tickets.contains(ticket)).collect();
        let orphans: Vec<_> = session.orphans.extract_if(.., |ticket, _| !tickets.contains(ticket)).collect();
        for ticket in gone {
            // The hub cannot know whether the driver has collected a detached job. Collecting it twice is better than
            // losing it.
            if self.job_of(id, ticket).is_some_and(|job| self.jobs[&job].detached.is_some()) {
                self.detach(id, ticket);
            } else {
                self.close_ticket(id, ticket);
            }
        }
        self.end_seeks(id, &tickets);
        for (_, row) in orphans {
            self.forget_orphan(row.job);
        }
        let (outputs, caches): (BTreeSet<_>, BTreeSet<_>) =
            (outputs.iter().copied().collect(), caches.iter().copied().collect());
        if let Some(session) = self.sessions.all.get_mut(&id) {
            session.names = Some(outputs.clone());
        }
        let known = self.outputs_of(id).into_iter();
        let outputs: Vec<_> = known.filter(|output| !outputs.contains(output)).collect();
        let mut own = self.known.caches_of(id);
        own.retain(|cache| !caches.contains(cache));
        self.release(id, &outputs, &own);
    }

    /// The driver no longer wants a job from before the restart.
    fn forget_orphan(&mut self, job: JobId) {
        self.drop_offered(job);
        let end = Err(Box::new(Error::Cancelled));
        let at = self.clock();
        self.out.note(Entry::JobEnded { job, at, progress: Progress::default(), end });
    }

    pub(crate) fn release(&mut self, session: SessionId, outputs: &[OutputId], caches: &[GlobalCacheId]) {
        // A driver can release only outputs and caches of its own session.
        for output in outputs.iter().filter(|output| output.session() == session) {
            self.release_output(*output);
        }
        for cache in caches.iter().filter(|cache| cache.session() == session) {
            self.known.caches.remove(cache);
            for engine in self.engines.ids() {
                self.tell_engine(engine, ToEngine::DeleteCache { cache: *cache });
            }
        }
    }

    fn release_output(&mut self, output: OutputId) {
        let session = self.sessions.all.get_mut(&output.session());
        if let Some(names) = session.and_then(|session| session.names.as_mut()) {
            names.remove(&output);
        }
        match self.known.codes.contains_key(&CodeId::Output(output)) {
            // A job may still read this output, or is still to make it. So it is deleted when that job has ended.
            true => self.release_code(CodeId::Output(output)),
            false => self.forget_output(output),
        }
    }

    /// No driver holds an output, and no job names it: deletes all of it.
    pub(crate) fn forget_output(&mut self, output: OutputId) {
        self.events.push(Event::OutputReleased { output });
        self.known.moves.remove(&output);
        self.engines.forget_places(output);
        self.out.note(Entry::Forgotten { output });
        if let Some(found) = self.known.offered.outputs.remove(&output) {
            for block in &found.blocks {
                self.tell_engine(block.engine, ToEngine::DeleteOutput { output });
            }
        }
    }

    pub(crate) fn lose_client(&mut self, peer: PeerId) {
        if let Some(Client::Driver(id)) = self.sessions.clients.remove(&peer)
            && let Some(session) = self.sessions.all.get_mut(&id)
            && session.peer == Some(peer)
        {
            session.peer = None;
            session.lost = Some(self.now);
            // The process may have ended. If the hub sees that now, its slots are free at once.
            self.out.orders.extend(session.process.look(id));
            let jobs: Vec<_> = session.tickets.values().copied().collect();
            self.unheard(id);
            // It may have been the last connected driver of a job that another one has collected.
            jobs.into_iter().for_each(|job| self.close_if_collected(job));
        }
    }

    /// Ends a session. Its jobs are cancelled, except detached ones. When these have ended, what the session held is
    /// released. The session itself ends when no engine keeps a result of theirs any more.
    pub(crate) fn end_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.all.get_mut(&id) else { return };
        (session.lost, session.left) = (None, true);
        // The driver will not ask for anything that engines offer.
        session.names = Some(BTreeSet::new());
        let (peer, tickets) = (session.peer.take(), std::mem::take(&mut session.tickets));
        let orphans = std::mem::take(&mut session.orphans);
        if let Some(peer) = peer {
            self.sessions.clients.remove(&peer);
            self.out.hang_up_clients.push(peer);
        }
        self.out.for_drivers.remove(&id);
        for row in orphans.into_values() {
            self.forget_orphan(row.job);
        }
        self.drop_unclaimed(id);
        self.end_seeks(id, &BTreeSet::new());
        for job in tickets.into_values() {
            if let Some(job) = self.jobs.get_mut(&job) {
                job.drivers.retain(|driver| driver.session != id);
            }
            self.close_if_collected(job);
        }
        if !self.sessions.all.contains_key(&id) {
            // Closing the last detached job has ended the session already.
            return;
        }
        let bound: Vec<_> = self.jobs.of(id).filter(|(_, job)| job.detached.is_none()).map(|(id, _)| id).collect();
        for job in &bound {
            self.cancel_job(*job);
        }
        for job in bound {
            self.close_job(job);
        }
        if self.jobs.of(id).any(|(_, job)| job.end.is_none()) {
            return;
        }
        for output in self.outputs_of(id) {
            self.release_output(output);
        }
        // When a session ends, engines delete everything of it. So it must not end while large results wait to be
        // collected.
        if self.jobs.of(id).any(|(_, job)| !job.kept.is_empty()) {
            return self.settle();
        }
        self.sessions.all.remove(&id);
        if id < self.first.1 {
            self.sessions.ended.insert(id);
        }
        self.known.end_session(id);
        self.untidy = true;
        self.settle();
        self.engines.forget_session(id);
        for engine in self.engines.ids() {
            self.tell_engine(engine, ToEngine::EndSession { session: id });
        }
        let at = self.clock();
        self.out.note(Entry::SessionEnded { session: id, at });
    }

    /// Tells the shelf which programs and files are in use, if any became unused since the last time.
    pub(crate) fn tidy(&mut self) {
        if std::mem::take(&mut self.untidy) {
            let programs = self.sessions.all.values().filter_map(|session| Some(session.program.as_deref()?.id));
            let given = self.sessions.all.values().flat_map(|session| session.given.iter().copied());
            let codes = self.known.codes.values().filter_map(|code| match code.bytes {
                CodeBytes::AtHub { id, .. } => Some(id),
                CodeBytes::Here(_) => None,
            });
            let used = programs.chain(given).chain(codes).collect();
            self.out.order(Order::Shelf(ShelfOrder::Tidy(used)));
        }
    }

    /// The outputs of a session that the hub knows.
    pub(crate) fn outputs_of(&self, id: SessionId) -> BTreeSet<OutputId> {
        let own = id.outputs();
        let codes = self.known.codes.range(CodeId::Output(*own.start())..=CodeId::Output(*own.end()));
        let coded = codes.filter_map(|(code, _)| match code {
            CodeId::Output(output) => Some(*output),
            CodeId::Results(_) => None,
        });
        coded.chain(self.known.offered.outputs.range(own).map(|(output, _)| *output)).collect()
    }

    /// The hub is stopping: tells drivers how their jobs end.
    pub(crate) fn end_jobs(&mut self) {
        for id in self.jobs.not_ended() {
            let Some(job) = self.jobs.get(&id) else { continue };
            let advice = match &job.detached {
                Some(_) => {
                    "a hub that is restarted in the same directory continues it; `cluster stop` removes the directory"
                }
                None => "start the cluster again and run the program again",
            };
            let error = Error::cluster("the cluster was stopped", advice);
            if job.detached.is_some() {
                self.tell_job(id, |ticket| ToDriver::Ended { ticket, end: Err(error.clone()) });
            } else {
                self.end_job(id, Err(error));
            }
        }
    }
}
