//! Drivers and administrators: sessions that begin, survive a lost connection, and end.

use crate::hub::{Client, Hub};
use crate::jobs::clock;
use crate::journal::{Entry, Proof};
use crate::launch::same_machine;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use tryworks_core::Error;
use tryworks_core::ids::{JobId, OutputId, SessionId};
use tryworks_core::runner::Progress;
use tryworks_engine::protocol::admin::Answer;
use tryworks_engine::protocol::driver::{FromDriver, GivenFile, Program, ToDriver, Welcome};
use tryworks_engine::protocol::engine::{CodeId, ToEngine};
use tryworks_engine::protocol::{Hello, HostInfo, Purpose, decode, refusal, welcome};
use tryworks_engine::scheduler::Event;
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
    /// Jobs that it waits for, by its own numbers.
    pub(crate) tickets: BTreeMap<u64, JobId>,
    /// Jobs that ran when the hub before this one died, and that it has not submitted again.
    pub(crate) orphans: BTreeMap<u64, JobId>,
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
            tickets: BTreeMap::new(),
            orphans: BTreeMap::new(),
            heard: Instant::now(),
            lost: Some(Instant::now()),
            left: false,
        }
    }
}

impl Hub {
    /// A message on the socket of drivers.
    pub(crate) fn hear_client(&mut self, peer: PeerId, bytes: &[u8]) {
        match self.clients.get(&peer) {
            Some(client) => match decode::<FromDriver>(bytes) {
                Ok(batch) => {
                    let client = *client;
                    if let Client::Driver(session) = client
                        && let Some(session) = self.sessions.get_mut(&session)
                    {
                        session.heard = Instant::now();
                    }
                    for message in batch {
                        // It may have left by what it said.
                        if self.clients.contains_key(&peer) {
                            self.client_says(peer, client, message);
                        }
                    }
                }
                Err(error) => self.refuse_client(peer, &error.to_string()),
            },
            None => self.greet_client(peer, bytes),
        }
    }

    fn refuse_client(&mut self, peer: PeerId, why: &str) {
        self.client_gone(peer);
        self.to_clients.push((peer, refusal(why)));
        self.hang_up_clients.push(peer);
    }

    fn greet_client(&mut self, peer: PeerId, bytes: &[u8]) {
        let hello = match Hello::from_bytes(bytes, env!("CARGO_PKG_VERSION")) {
            Ok(hello) => hello,
            Err(why) => return self.refuse_client(peer, &why),
        };
        match hello.purpose {
            Purpose::Administer => {
                self.clients.insert(peer, Client::Administrator);
                let answer = self.welcome_to(SessionId(0), [0; 16], false);
                self.to_clients.push((peer, answer));
            }
            Purpose::Drive { again, program } => self.greet_driver(peer, again, program, hello.host),
            Purpose::Serve(_) | Purpose::Work { .. } | Purpose::Fetch => {
                self.refuse_client(peer, "engines have a socket and certificates of their own");
            }
        }
    }

    fn greet_driver(&mut self, peer: PeerId, again: Option<(SessionId, [u8; 16])>, program: Program, host: HostInfo) {
        let (id, secret) = match again.filter(|(id, secret)| self.may_have(*id, secret)) {
            Some(again) => again,
            None => match self.memory.journal.next_session() {
                Ok(id) => (id, rand_secret()),
                Err(error) => return self.refuse_client(peer, &error.to_string()),
            },
        };
        let send_program = !same_machine(&host, &tryworks_engine::host::here()) && !self.shelf.has(&program.id);
        let proof = Proof::of(&secret);
        let session = self.sessions.entry(id).or_insert_with(|| Session::new(proof, host.id.clone()));
        let before = session.peer.replace(peer);
        (session.lost, session.heard) = (None, Instant::now());
        self.shelf.use_program(&program, &host);
        let program = Arc::new(program);
        match send_program {
            true => session.expected = Some(program),
            false => session.program = Some(program),
        }
        if let Some(before) = before {
            self.clients.remove(&before);
            self.hang_up_clients.push(before);
        }
        self.memory.journal.note(Entry::Session { session: id, proof, host: host.id, at: clock() });
        self.clients.insert(peer, Client::Driver(id));
        let answer = self.welcome_to(id, secret, send_program);
        self.to_clients.push((peer, answer));
        // What was under way to the connection before is said in order, or not at all: results when it asks for them.
        self.for_drivers.remove(&id);
        self.say_again(id);
        self.tell_all_cached(id);
        self.introduce_to_all(id);
    }

    /// Whether somebody with this secret may go on with a session: it is theirs, or the journal lost its last words
    /// with the hub before this one. A number is never given to two drivers.
    fn may_have(&self, id: SessionId, secret: &[u8; 16]) -> bool {
        match self.sessions.get(&id) {
            Some(session) => session.proof.is_of(secret) && !session.left,
            None => id < self.first.1,
        }
    }

    /// The program of a session is where engines can get it.
    fn program_came(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(program) = session.expected.take() {
            session.program = Some(program);
            self.introduce_to_all(id);
        }
    }

    /// A driver has given a file along: it stays where engines can get it until the session is over.
    fn file_given(&mut self, id: SessionId, file: GivenFile) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let here = session.host == tryworks_engine::host::here().id;
        self.shelf.use_file(&file, here);
        session.given.insert(file.id);
    }

    fn introduce_to_all(&mut self, id: SessionId) {
        let engines: Vec<_> = self.engines.keys().copied().collect();
        engines.into_iter().for_each(|engine| self.introduce(engine, id));
    }

    fn welcome_to(&self, session: SessionId, secret: [u8; 16], send_program: bool) -> Vec<u8> {
        let libcs: std::collections::BTreeSet<_> =
            self.engines.values().map(|engine| (&engine.host.libc, &engine.host.processor)).collect();
        let warning = (libcs.len() > 1).then(|| {
            format!(
                "the engines run on different C libraries or processors, so `exp`, `sin` and the like may differ in \
                 the last bit between them: {libcs:?}"
            )
        });
        let answer = Welcome {
            session,
            secret,
            epoch: self.epoch,
            send_program,
            host: tryworks_engine::host::here().id,
            cluster: self.cluster.clone(),
            engines: self.engines.len() as u32,
            slots: self.engines.values().map(|engine| engine.slots).sum(),
            warning,
        };
        welcome(&answer).unwrap_or_else(|error| refusal(&error.to_string()))
    }

    fn client_says(&mut self, peer: PeerId, client: Client, message: FromDriver) {
        let session = match (client, message) {
            (_, FromDriver::Ask { number, question }) => {
                if let Some(answer) = self.answer(peer, number, question) {
                    self.tell_answer(peer, number, answer);
                }
                return;
            }
            (_, FromDriver::Beat) => return,
            (Client::Administrator, FromDriver::Leave) => {
                self.client_gone(peer);
                return self.hang_up_clients.push(peer);
            }
            (Client::Administrator, _) => return self.refuse_client(peer, "an administrator has no jobs"),
            (Client::Driver(session), message) => (session, message),
        };
        match session {
            (session, FromDriver::ProgramSent) => self.program_came(session),
            (session, FromDriver::Give(file)) => self.file_given(session, file),
            (session, FromDriver::Holds { tickets, outputs, caches }) => {
                self.let_go(session, &tickets, &outputs, &caches);
            }
            (session, FromDriver::Submit(job)) => self.submit(session, *job),
            (session, FromDriver::Attach { ticket, job, action }) => self.attach_to(session, ticket, job, &action),
            (session, FromDriver::Received { attempts }) => self.received(session, &attempts),
            (session, FromDriver::Cancel { ticket }) => {
                if let Some(job) = self.job_of(session, ticket) {
                    self.cancel_job(job);
                }
            }
            (session, FromDriver::Close { ticket }) => self.close_ticket(session, ticket),
            (session, FromDriver::Detach { ticket }) => drop(self.detach(session, ticket)),
            (session, FromDriver::Release { outputs, caches }) => self.release(session, &outputs, &caches),
            (session, FromDriver::Leave) => {
                self.end_session(session);
                self.hang_up_clients.push(peer);
            }
            (_, FromDriver::Ask { .. } | FromDriver::Beat) => {}
        }
    }

    pub(crate) fn job_of(&self, session: SessionId, ticket: u64) -> Option<JobId> {
        self.sessions.get(&session)?.tickets.get(&ticket).copied()
    }

    pub(crate) fn tell_answer(&mut self, peer: PeerId, number: u64, answer: Answer) {
        let answer = ToDriver::Answer { number, answer: Box::new(answer) };
        match tryworks_engine::protocol::encode(&[answer]) {
            Ok(bytes) => self.to_clients.push((peer, bytes)),
            Err(error) => tracing::error!("an answer could not be encoded: {error}"),
        }
    }

    /// A driver that was cut off says what it holds: what it let go of meanwhile was said into nowhere.
    fn let_go(&mut self, id: SessionId, tickets: &[u64], outputs: &[u64], caches: &[u64]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
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
        orphans.into_iter().for_each(|(_, job)| self.forget_orphan(job));
        let own = |global: u64| SessionId::split(global).0 == id;
        let known = self.codes.keys().filter_map(|code| match code {
            CodeId::Output(output) => Some(output.0),
            CodeId::Results(_) => None,
        });
        let known = known.chain(self.offered.outputs.keys().map(|output| output.0));
        let outputs: Vec<_> = known.filter(|output| own(*output) && !outputs.contains(output)).collect();
        let caches: Vec<_> =
            self.caches.keys().copied().filter(|cache| own(*cache) && !caches.contains(cache)).collect();
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

    fn release(&mut self, session: SessionId, outputs: &[u64], caches: &[u64]) {
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
        }
    }

    /// Gives up connections of drivers that say nothing, and the sessions of those that did not come back in time.
    pub(crate) fn drop_lost_drivers(&mut self) {
        let silence = self.limits.driver_silence;
        let silent = self.sessions.values().filter(|session| session.heard.elapsed() > silence);
        let silent: Vec<_> = silent.filter_map(|session| session.peer).collect();
        for peer in silent {
            self.client_gone(peer);
            self.hang_up_clients.push(peer);
        }
        let grace = self.limits.driver_grace;
        let late = self.sessions.iter().filter(|(_, session)| session.lost.is_some_and(|at| at.elapsed() >= grace));
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.end_session(id));
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
        orphans.into_values().for_each(|job| self.forget_orphan(job));
        for job in tickets.into_values() {
            if let Some(job) = self.jobs.get_mut(&job) {
                job.drivers.retain(|driver| driver.session != id);
            }
        }
        let bound = self.jobs.iter().filter(|(_, job)| job.session == id && job.detached.is_none());
        let bound: Vec<_> = bound.map(|(job, _)| *job).collect();
        bound.iter().for_each(|job| self.cancel_job(*job));
        bound.into_iter().for_each(|job| self.close_job(job));
        if self.jobs.values().any(|job| job.session == id && job.goes_on()) {
            return;
        }
        self.sessions.remove(&id);
        let outputs = self.codes.keys().filter_map(|code| match code {
            CodeId::Output(output) => Some(*output),
            CodeId::Results(_) => None,
        });
        let outputs = outputs.chain(self.offered.outputs.keys().copied());
        let own: BTreeSet<_> = outputs.filter(|output| SessionId::split(output.0).0 == id).collect();
        own.into_iter().for_each(|output| self.release_output(output));
        self.offered.results.retain(|_, results| {
            results.retain(|(_, held)| held.session != id);
            !results.is_empty()
        });
        self.caches.retain(|cache, _| SessionId::split(*cache).0 != id);
        let programs = self.sessions.values().filter_map(|session| Some(session.program.as_deref()?.id));
        let given = self.sessions.values().flat_map(|session| session.given.iter().copied());
        self.shelf.tidy(programs.chain(given));
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

fn rand_secret() -> [u8; 16] {
    let mut secret = [0; 16];
    // Without a source of randomness the kernel would not have started us.
    let _ = getrandom::fill(&mut secret);
    secret
}
