//! Drivers and administrators: sessions that begin, survive a lost connection, and end.

use crate::hub::{Client, Hub};
use crate::launch::same_machine;
use std::collections::BTreeMap;
use std::time::Instant;
use tryworks_core::Error;
use tryworks_core::ids::{AttemptId, JobId, OutputId, SessionId};
use tryworks_engine::protocol::driver::{FromDriver, Program, ToDriver, Welcome};
use tryworks_engine::protocol::engine::{CodeId, ToEngine};
use tryworks_engine::protocol::{Hello, HostInfo, Purpose, decode, refusal, welcome};
use tryworks_engine::scheduler::Event;
use tryworks_transport::PeerId;

/// A driver's stay.
pub(crate) struct Session {
    /// Its connection, while it has one.
    pub(crate) peer: Option<PeerId>,
    pub(crate) secret: [u8; 16],
    pub(crate) program: Program,
    pub(crate) host: HostInfo,
    /// Its jobs by its own numbers.
    pub(crate) tickets: BTreeMap<u64, JobId>,
    /// Since when it has no connection.
    pub(crate) lost: Option<Instant>,
}

impl Hub {
    /// A message on the socket of drivers.
    pub(crate) fn from_client(&mut self, peer: PeerId, bytes: &[u8]) {
        match self.clients.get(&peer) {
            Some(client) => match decode::<FromDriver>(bytes) {
                Ok(batch) => {
                    let client = *client;
                    batch.into_iter().for_each(|message| self.client_says(peer, client, message));
                }
                Err(error) => self.refuse_client(peer, &error.to_string()),
            },
            None => self.greet_client(peer, bytes),
        }
    }

    fn refuse_client(&mut self, peer: PeerId, why: &str) {
        self.client_gone(peer);
        self.to_clients.push((peer, refusal(why)));
    }

    fn greet_client(&mut self, peer: PeerId, bytes: &[u8]) {
        let hello = match Hello::from_bytes(bytes, env!("CARGO_PKG_VERSION")) {
            Ok(hello) => hello,
            Err(why) => return self.refuse_client(peer, &why),
        };
        match hello.purpose {
            Purpose::Administer => {
                self.clients.insert(peer, Client::Administrator);
                let answer = self.welcome_to(SessionId(0), [0; 16], false, false);
                self.to_clients.push((peer, answer));
            }
            Purpose::Drive { again, program } => self.greet_driver(peer, again, program, hello.host),
            Purpose::Serve(_) | Purpose::Work { .. } | Purpose::Fetch => {
                self.refuse_client(peer, "engines have a socket and certificates of their own");
            }
        }
    }

    fn greet_driver(&mut self, peer: PeerId, again: Option<(SessionId, [u8; 16])>, program: Program, host: HostInfo) {
        let known = again.filter(|(id, secret)| self.sessions.get(id).is_some_and(|known| known.secret == *secret));
        let (id, secret) = match (known, again) {
            (Some(known), _) => known,
            // A session of the hub before this one: its name is free, since names are never given twice.
            (None, Some((id, secret))) if self.epoch > 1 && !self.sessions.contains_key(&id) => (id, secret),
            _ => {
                let id = SessionId(self.next.session);
                self.next.session += 1;
                (id, rand_secret())
            }
        };
        let send_program = !same_machine(&host, &tryworks_engine::host::here());
        match self.sessions.get_mut(&id) {
            Some(session) => {
                if let Some(before) = session.peer.replace(peer) {
                    self.clients.remove(&before);
                }
                session.lost = None;
            }
            None => {
                let session = Session { peer: Some(peer), secret, program, host, tickets: BTreeMap::new(), lost: None };
                self.sessions.insert(id, session);
                let engines: Vec<_> = self.engines.keys().copied().collect();
                engines.into_iter().for_each(|engine| self.introduce(engine, id));
            }
        }
        self.clients.insert(peer, Client::Driver(id));
        let answer = self.welcome_to(id, secret, known.is_some(), send_program);
        self.to_clients.push((peer, answer));
    }

    fn welcome_to(&self, session: SessionId, secret: [u8; 16], known: bool, send_program: bool) -> Vec<u8> {
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
            known,
            send_program,
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
                let answer = Box::new(self.answer(question));
                let answer = ToDriver::Answer { number, answer };
                if let Ok(bytes) = tryworks_engine::protocol::encode(&[answer]) {
                    self.to_clients.push((peer, bytes));
                }
                return;
            }
            (_, FromDriver::Beat) => return,
            (Client::Administrator, FromDriver::Leave) => return self.client_gone(peer),
            (Client::Administrator, _) => return self.refuse_client(peer, "an administrator has no jobs"),
            (Client::Driver(session), message) => (session, message),
        };
        match session {
            (session, FromDriver::Submit(job)) => self.submit(session, *job),
            (session, FromDriver::Received { attempts }) => self.received(session, &attempts),
            (session, FromDriver::Cancel { ticket }) => {
                if let Some(job) = self.job_of(session, ticket) {
                    self.events.push(Event::JobCancelled { job });
                }
            }
            (session, FromDriver::Close { ticket }) => {
                if let Some(job) = self.job_of(session, ticket) {
                    self.close_job(job);
                }
            }
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

    fn received(&mut self, session: SessionId, attempts: &[AttemptId]) {
        let mut by_engine = BTreeMap::<_, Vec<_>>::new();
        for attempt in attempts {
            let owner = self.jobs.values_mut().filter(|job| job.session == session);
            for job in owner {
                if let Some((engine, _)) = job.delivered.remove(attempt) {
                    by_engine.entry(engine).or_default().push(*attempt);
                }
            }
        }
        for (engine, attempts) in by_engine {
            self.tell_engine(engine, ToEngine::Received { attempts });
        }
    }

    fn release(&mut self, session: SessionId, outputs: &[u64], caches: &[u64]) {
        // A driver has only its own to release.
        let own = |global: &&u64| SessionId::split(**global).0 == session;
        for output in outputs.iter().filter(own).map(|output| OutputId(*output)) {
            self.events.push(Event::OutputReleased { output });
            self.release_code(CodeId::Output(output));
            self.moves.remove(&output);
            self.offered.blocks.remove(&output);
        }
        for cache in caches.iter().filter(own) {
            self.caches.remove(cache);
            let engines: Vec<_> = self.engines.keys().copied().collect();
            engines.into_iter().for_each(|engine| self.tell_engine(engine, ToEngine::DeleteCache { cache: *cache }));
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

    /// Ends the sessions of drivers that did not come back in time.
    pub(crate) fn drop_lost_drivers(&mut self) {
        let grace = self.limits.driver_grace;
        let late = self.sessions.iter().filter(|(_, session)| session.lost.is_some_and(|at| at.elapsed() >= grace));
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.end_session(id));
    }

    /// Ends a session: its jobs are cancelled unless they were detached, and what it held goes.
    pub(crate) fn end_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(peer) = session.peer.take() {
            self.clients.remove(&peer);
        }
        session.lost = None;
        let jobs: Vec<_> = self.jobs.iter().filter(|(_, job)| job.session == id).map(|(job, _)| *job).collect();
        if jobs.iter().any(|job| self.jobs[job].goes_on()) {
            // The workers and blocks are needed until the last detached job has ended.
            return;
        }
        for job in &jobs {
            if self.jobs[job].end.is_none() {
                self.events.push(Event::JobCancelled { job: *job });
            }
        }
        self.settle();
        jobs.into_iter().for_each(|job| self.close_job(job));
        self.sessions.remove(&id);
        self.for_drivers.remove(&id);
        let outputs: Vec<_> =
            self.codes.keys().filter_map(|code| if let CodeId::Output(o) = code { Some(*o) } else { None }).collect();
        for output in outputs.into_iter().filter(|output| SessionId::split(output.0).0 == id) {
            self.events.push(Event::OutputReleased { output });
            self.release_code(CodeId::Output(output));
            self.moves.remove(&output);
        }
        self.offered.blocks.retain(|output, _| SessionId::split(output.0).0 != id);
        self.caches.retain(|cache, _| SessionId::split(*cache).0 != id);
        self.settle();
        let engines: Vec<_> = self.engines.keys().copied().collect();
        for engine in engines {
            if self.engines.get_mut(&engine).is_some_and(|engine| engine.sessions.remove(&id)) {
                self.tell_engine(engine, ToEngine::EndSession { session: id });
            }
        }
    }

    /// The hub ends: drivers are told.
    pub(crate) fn say_goodbye(&mut self) {
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for session in sessions {
            let tickets: Vec<_> = self.sessions[&session].tickets.iter().map(|(t, j)| (*t, *j)).collect();
            for (ticket, job) in tickets {
                if self.jobs.get(&job).is_some_and(|job| job.end.is_none()) {
                    let end =
                        Err(Error::cluster("the cluster was stopped", "start it again, and run the program again"));
                    self.tell_driver(session, ToDriver::Ended { ticket, end });
                }
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
