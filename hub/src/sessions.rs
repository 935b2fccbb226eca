//! What a driver's session holds, how it survives a lost connection, and how it ends.

use crate::hub::{Client, Hub};
use crate::jobs::clock;
use crate::journal::{Entry, Proof};
use crate::lost::Process;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use tryworks_base::ids::{JobId, OutputId, SessionId};
use tryworks_base::{Error, Progress};
use tryworks_protocol::admin::JobRow;
use tryworks_protocol::driver::{Program, ToDriver};
use tryworks_protocol::engine::{CodeBytes, CodeId, ToEngine};
use tryworks_scheduler::Event;
use tryworks_transport::PeerId;

/// A driver's stay.
pub(crate) struct Session {
    /// Its connection, while it has one.
    pub(crate) peer: Option<PeerId>,
    /// What its secret is compared with.
    pub(crate) proof: Proof,
    /// What its workers run, once that is known and can be had.
    pub(crate) program: Option<Arc<Program>>,
    /// It is on another machine, and on its way to the hub.
    pub(crate) expected: Option<Arc<Program>>,
    /// Files that it has given along.
    pub(crate) given: BTreeSet<[u8; 32]>,
    /// The machine of its driver.
    pub(crate) host: String,
    /// The driver itself.
    pub(crate) process: Process,
    /// Jobs that it waits for, by its own numbers.
    pub(crate) tickets: BTreeMap<u64, JobId>,
    /// Jobs that ran when the hub before this one died, and that it has not submitted again.
    pub(crate) orphans: BTreeMap<u64, JobRow>,
    /// When it was heard last.
    pub(crate) heard: Instant,
    /// Since when it has no connection.
    pub(crate) lost: Option<Instant>,
    /// It is over for its driver, and stays for what was detached.
    pub(crate) left: bool,
}

impl Session {
    /// A session whose driver is not there.
    pub(crate) fn new(proof: Proof, host: String) -> Self {
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
            heard: Instant::now(),
            lost: Some(Instant::now()),
            left: false,
        }
    }
}

impl Hub {
    /// A driver that was cut off says what it holds: what it let go of meanwhile was said into nowhere.
    pub(crate) fn let_go(&mut self, id: SessionId, tickets: &[u64], outputs: &[u64], caches: &[u64]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let tickets: BTreeSet<_> = tickets.iter().copied().collect();
        let gone: Vec<_> = session.tickets.keys().copied().filter(|ticket| !tickets.contains(ticket)).collect();
        let orphans: Vec<_> = session.orphans.extract_if(.., |ticket, _| !tickets.contains(ticket)).collect();
        for ticket in gone {
            // Whether a detached job was collected is not known: better twice than never.
            if self.job_of(id, ticket).is_some_and(|job| self.jobs[&job].detached.is_some()) {
                self.detach(id, ticket);
            } else {
                self.close_ticket(id, ticket);
            }
        }
        orphans.into_iter().for_each(|(_, row)| self.forget_orphan(row.job));
        let (outputs, caches): (BTreeSet<_>, BTreeSet<_>) =
            (outputs.iter().copied().collect(), caches.iter().copied().collect());
        let known = self.outputs_of(id).into_iter().map(|output| output.0);
        let outputs: Vec<_> = known.filter(|output| !outputs.contains(output)).collect();
        let known = self.caches.range(id.global(0)..=id.global(u64::MAX)).map(|(cache, _)| *cache);
        let caches: Vec<_> = known.filter(|cache| !caches.contains(cache)).collect();
        self.release(id, &outputs, &caches);
    }

    /// A job of the hub before this one is not wanted any more.
    fn forget_orphan(&mut self, job: JobId) {
        for (engine, held) in self.offered.results.remove(&job).unwrap_or_default() {
            self.tell_engine(engine, ToEngine::Received { attempts: vec![held.attempt] });
        }
        let end = Err(Box::new(Error::Cancelled));
        self.memory.journal.note(Entry::JobEnded { job, at: clock(), progress: Progress::default(), end });
    }

    pub(crate) fn release(&mut self, session: SessionId, outputs: &[u64], caches: &[u64]) {
        // A driver has only its own to release.
        let own = |global: &&u64| SessionId::split(**global).0 == session;
        for output in outputs.iter().filter(own).map(|output| OutputId(*output)) {
            self.release_output(output);
        }
        for cache in caches.iter().filter(own) {
            self.caches.remove(cache);
            let engines: Vec<_> = self.engines.keys().copied().collect();
            engines.into_iter().for_each(|engine| self.tell_engine(engine, ToEngine::DeleteCache { cache: *cache }));
        }
    }

    fn release_output(&mut self, output: OutputId) {
        self.events.push(Event::OutputReleased { output });
        self.release_code(CodeId::Output(output));
        self.moves.remove(&output);
        for engine in self.engines.values_mut() {
            engine.places.remove(&output);
        }
        if let Some(found) = self.offered.outputs.remove(&output) {
            self.memory.journal.note(Entry::Forgotten { output });
            found.blocks.iter().for_each(|block| self.tell_engine(block.engine, ToEngine::DeleteOutput { output }));
        }
    }

    /// A connection of a driver or administrator ended.
    pub(crate) fn client_gone(&mut self, peer: PeerId) {
        if let Some(Client::Driver(id)) = self.clients.remove(&peer)
            && let Some(session) = self.sessions.get_mut(&id)
            && session.peer == Some(peer)
        {
            session.peer = None;
            session.lost = Some(Instant::now());
            self.unheard(id);
        }
    }

    /// Ends a session: its jobs are cancelled unless they were detached, and what it held goes once those need it no
    /// more.
    pub(crate) fn end_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        (session.lost, session.left) = (None, true);
        let (peer, tickets) = (session.peer.take(), std::mem::take(&mut session.tickets));
        let orphans = std::mem::take(&mut session.orphans);
        if let Some(peer) = peer {
            self.clients.remove(&peer);
            self.hang_up_clients.push(peer);
        }
        self.for_drivers.remove(&id);
        orphans.into_values().for_each(|row| self.forget_orphan(row.job));
        for job in tickets.into_values() {
            if let Some(job) = self.jobs.get_mut(&job) {
                job.drivers.retain(|driver| driver.session != id);
            }
        }
        let bound: Vec<_> = self.jobs.of(id).filter(|(_, job)| job.detached.is_none()).map(|(id, _)| id).collect();
        bound.iter().for_each(|job| self.cancel_job(*job));
        bound.into_iter().for_each(|job| self.close_job(job));
        if self.jobs.of(id).any(|(_, job)| job.goes_on()) {
            return;
        }
        self.sessions.remove(&id);
        self.outputs_of(id).into_iter().for_each(|output| self.release_output(output));
        self.offered.results.retain(|_, results| {
            results.retain(|(_, held)| held.session != id);
            !results.is_empty()
        });
        self.caches.extract_if(id.global(0)..=id.global(u64::MAX), |_, _| true).for_each(drop);
        self.untidy = true;
        self.settle();
        let engines: Vec<_> = self.engines.keys().copied().collect();
        for engine in engines {
            if let Some(engine) = self.engines.get_mut(&engine) {
                engine.sessions.remove(&id);
            }
            self.tell_engine(engine, ToEngine::EndSession { session: id });
        }
        self.memory.journal.note(Entry::SessionEnded { session: id, at: clock() });
    }

    /// Lets go of programs and files that nobody has needed since this was done last.
    pub(crate) fn tidy(&mut self) {
        if std::mem::take(&mut self.untidy) {
            let programs = self.sessions.values().filter_map(|session| Some(session.program.as_deref()?.id));
            let given = self.sessions.values().flat_map(|session| session.given.iter().copied());
            let codes = self.codes.values().filter_map(|code| match code.bytes {
                CodeBytes::AtHub { id, .. } => Some(id),
                CodeBytes::Here(_) => None,
            });
            self.shelf.tidy(programs.chain(given).chain(codes));
        }
    }

    /// The outputs of a session of which anything is known.
    pub(crate) fn outputs_of(&self, id: SessionId) -> BTreeSet<OutputId> {
        let (first, last) = (OutputId(id.global(0)), OutputId(id.global(u64::MAX)));
        let codes = self.codes.range(CodeId::Output(first)..=CodeId::Output(last));
        let coded = codes.filter_map(|(code, _)| match code {
            CodeId::Output(output) => Some(*output),
            CodeId::Results(_) => None,
        });
        coded.chain(self.offered.outputs.range(first..=last).map(|(output, _)| *output)).collect()
    }

    /// The hub ends: drivers are told.
    pub(crate) fn say_goodbye(&mut self) {
        let jobs: Vec<_> = self.jobs.iter().filter(|(_, job)| job.end.is_none()).map(|(id, _)| *id).collect();
        for id in jobs {
            let Some(job) = self.jobs.get(&id) else { continue };
            let advice = match &job.detached {
                Some(_) => "start it again: the job goes on then",
                None => "start it again, and run the program again",
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
