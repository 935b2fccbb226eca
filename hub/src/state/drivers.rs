//! Drivers and administrators: how they connect, and what they say.

use super::sessions::{Client, Process, Session};
use super::{Hub, Level, Order, ShelfOrder};
use crate::journal::{Counter, Entry, Proof};
use std::collections::BTreeSet;
use std::sync::Arc;
use tryworks_base::ids::{JobId, SessionId};
use tryworks_base::{Error, MAX_MESSAGE};
use tryworks_protocol::admin::Answer;
use tryworks_protocol::driver::{FromDriver, GivenFile, ToDriver, Welcome};
use tryworks_protocol::program::Program;
use tryworks_protocol::{Hello, HostInfo, Purpose, decode, encode, refusal, welcome};
use tryworks_transport::PeerId;

impl Hub {
    pub(crate) fn client_says_bytes(&mut self, peer: PeerId, bytes: &[u8]) {
        match self.sessions.clients.get(&peer) {
            Some(client) => match decode::<FromDriver>(bytes) {
                Ok(batch) => {
                    let client = *client;
                    if let Client::Driver(session) = client
                        && let Some(session) = self.sessions.all.get_mut(&session)
                    {
                        session.heard = self.now;
                    }
                    let holds = batch.iter().any(|message| matches!(message, FromDriver::Holds { .. }));
                    for message in batch {
                        // An earlier message of the batch may have ended the connection.
                        if self.sessions.clients.contains_key(&peer) {
                            self.client_says(peer, client, message);
                        }
                    }
                    if let Client::Driver(session) = client
                        && holds
                    {
                        self.drop_unclaimed(session);
                    }
                }
                Err(error) => self.refuse_client(peer, &error.to_string()),
            },
            // A client that was dismissed may go on speaking until the hub hangs up.
            None if self.out.hang_up_clients.contains(&peer) => {}
            None => self.greet_client(peer, bytes),
        }
    }

    fn refuse_client(&mut self, peer: PeerId, why: &str) {
        self.lose_client(peer);
        self.out.dismiss_client(peer, refusal(why));
    }

    fn greet_client(&mut self, peer: PeerId, bytes: &[u8]) {
        let hello = match Hello::from_bytes(bytes, env!("CARGO_PKG_VERSION")) {
            Ok(hello) => hello,
            Err(why) => return self.refuse_client(peer, &why),
        };
        match hello.purpose {
            Purpose::Administer => {
                self.sessions.clients.insert(peer, Client::Administrator);
                let answer = self.welcome_to(SessionId(0), [0; 16], false);
                self.out.to_clients.push((peer, answer));
            }
            Purpose::Drive { again, program } => self.greet_driver(peer, again, program, hello.host),
            Purpose::Serve(_) | Purpose::Work { .. } | Purpose::Fetch => {
                self.refuse_client(peer, "engines have a socket and certificates of their own");
            }
        }
    }

    fn greet_driver(&mut self, peer: PeerId, again: Option<(SessionId, [u8; 16])>, program: Program, host: HostInfo) {
        let again = again.filter(|(id, secret)| self.may_have(*id, secret));
        let (id, secret) = match again {
            Some(again) => again,
            None => match self.next_short(Counter::Sessions) {
                Ok(id) => (SessionId(id), self.secret_of(SessionId(id))),
                Err(error) => return self.refuse_client(peer, &error.to_string()),
            },
        };
        let send_program = host.id != self.setup.host.id && !self.programs.contains(&program.id);
        let proof = Proof::of(&secret);
        let (now, at) = (self.now, self.clock());
        let fresh = again.is_none();
        let session = self.sessions.all.entry(id).or_insert_with(|| {
            let names = fresh.then(BTreeSet::new);
            Session { names, ..Session::new(proof, host.id.clone(), now) }
        });
        let before = session.peer.replace(peer);
        (session.lost, session.heard, session.process) = (None, now, Process::of(&host));
        let program = Arc::new(program);
        let uses = ShelfOrder::UseProgram { program: program.clone(), host: host.clone() };
        self.out.order(Order::Shelf(uses));
        if host.id == self.setup.host.id {
            // Look at the process now, while it lives: only a process that was seen alive can later be seen to have
            // ended.
            self.out.order(Order::LookAt { session: id, process: host.clone() });
        }
        match send_program {
            true => session.expected = Some(program),
            false => session.program = Some(program),
        }
        if let Some(before) = before {
            self.sessions.clients.remove(&before);
            self.out.hang_up_clients.push(before);
        }
        self.out.note(Entry::Session { session: id, proof, host: host.id, at });
        self.sessions.clients.insert(peer, Client::Driver(id));
        let answer = self.welcome_to(id, secret, send_program);
        self.out.to_clients.push((peer, answer));
        // What was queued for the driver's previous connection is dropped, so that nothing arrives out of order. The
        // driver asks for its results again.
        self.out.for_drivers.remove(&id);
        let tickets: Vec<_> =
            self.sessions.all.get(&id).into_iter().flat_map(|of| of.tickets.values().copied()).collect();
        for job in tickets {
            self.jobs.pause_reports(job, id);
        }
        self.unheard(id);
        self.say_again(id);
        self.tell_all_cached(id);
        self.introduce_to_all(id);
    }

    /// Whether a driver may continue a session. It may if it knows the secret of an open session. It also may if the
    /// journal lost the session when an earlier hub died: no number is ever given to two drivers.
    fn may_have(&self, id: SessionId, secret: &[u8; 16]) -> bool {
        match self.sessions.all.get(&id) {
            Some(session) => session.proof.is_of(secret) && !session.left,
            None => id < self.first.1 && !self.sessions.ended.contains(&id),
        }
    }

    /// The secret that proves that a session belongs to its driver. Only a process that knows the hub's seed can
    /// compute it.
    fn secret_of(&self, id: SessionId) -> [u8; 16] {
        let made = blake3::keyed_hash(&self.setup.seed, &id.0.to_le_bytes());
        let mut secret = [0; 16];
        secret.copy_from_slice(&made.as_bytes()[..16]);
        secret
    }

    /// The program of a session has arrived where engines can fetch it.
    fn program_came(&mut self, id: SessionId) {
        let Some(session) = self.sessions.all.get_mut(&id) else { return };
        if let Some(program) = session.expected.take() {
            session.program = Some(program);
            self.introduce_to_all(id);
        }
    }

    /// A driver has uploaded a file: it stays where engines can fetch it until the session ends.
    fn file_given(&mut self, id: SessionId, file: GivenFile) {
        let Some(session) = self.sessions.all.get_mut(&id) else { return };
        session.given.insert(file.id);
        let here = session.host == self.setup.host.id;
        self.out.order(Order::Shelf(ShelfOrder::UseFile { file, here }));
    }

    fn introduce_to_all(&mut self, id: SessionId) {
        for engine in self.engines.ids() {
            self.introduce(engine, id);
        }
    }

    fn welcome_to(&self, session: SessionId, secret: [u8; 16], send_program: bool) -> Vec<u8> {
        let libcs: std::collections::BTreeSet<_> =
            self.engines.all.values().map(|engine| (&engine.host.libc, &engine.host.processor)).collect();
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
            host: self.setup.host.id.clone(),
            cluster: self.setup.cluster.clone(),
            engines: self.engines.all.len() as u32,
            slots: self.engines.all.values().map(|engine| engine.slots).sum(),
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
                self.lose_client(peer);
                return self.out.hang_up_clients.push(peer);
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
            (session, FromDriver::Attach { ticket, job, action, token }) => {
                self.attach_to(session, ticket, job, &action, &token);
            }
            (session, FromDriver::Seek { ticket, by, action }) => self.seek(session, ticket, by, action),
            (session, FromDriver::Received { attempts }) => self.received(session, &attempts),
            (session, FromDriver::Heard(all)) => all.into_iter().for_each(|heard| self.heard(session, heard)),
            (session, FromDriver::Cancel { ticket }) => {
                if let Some(job) = self.job_of(session, ticket) {
                    self.cancel_job(job);
                }
            }
            (session, FromDriver::Close { ticket }) => self.close_ticket(session, ticket),
            (session, FromDriver::Detach { ticket }) => self.detach(session, ticket),
            (session, FromDriver::Release { outputs, caches }) => self.release(session, &outputs, &caches),
            (session, FromDriver::Leave) => {
                self.end_session(session);
                self.out.hang_up_clients.push(peer);
            }
            (_, FromDriver::Ask { .. } | FromDriver::Beat) => {}
        }
    }

    pub(crate) fn job_of(&self, session: SessionId, ticket: u64) -> Option<JobId> {
        self.sessions.all.get(&session)?.tickets.get(&ticket).copied()
    }

    pub(crate) fn tell_answer(&mut self, peer: PeerId, number: u64, content: Answer) {
        let with = |answer| [ToDriver::Answer { number, answer: Box::new(answer) }];
        let said = encode(&with(content)).and_then(|bytes| {
            if bytes.len() <= MAX_MESSAGE {
                return Ok(bytes);
            }
            let advice = "ask for less, such as one job or one engine";
            Err(Error::limit("a message", MAX_MESSAGE as u64, format!("an answer of {} bytes", bytes.len()), advice))
        });
        match said.or_else(|error| encode(&with(Answer::No(error.to_string())))) {
            Ok(bytes) => self.out.to_clients.push((peer, bytes)),
            Err(error) => self.out.log(Level::Error, format!("an answer could not be encoded: {error}")),
        }
    }
}
