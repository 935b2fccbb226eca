//! The bad network between the hub and the engines: which letters there are, and what happens to them.

use super::{Happening, RESEND, Session, World};
use crate::faults::Verdict;
use crate::host::Order;
use tryworks_base::ids::{EngineId, OutputId};
use tryworks_scheduler::*;

#[derive(Clone, Debug)]
pub(super) enum Letter {
    /// A session begins.
    Hello {
        slots: u32,
    },
    /// The engine is alive. Not sent again when lost.
    Beat,
    /// The hub is alive. It is not sent again either.
    Heard,
    /// The session was given up: the engine has to begin another.
    Over,
    /// Another hub has started, and asks what the engine holds.
    Again,
    Holding {
        slots: u32,
        blocks: Vec<(OutputId, KnownBlock)>,
    },
    /// What happened on the engine.
    Report(Event<String>),
    /// What the engine has to do.
    Order {
        number: u64,
        order: Order,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) host: usize,
    pub(super) session: EngineId,
    pub(super) to_hub: bool,
    /// The generation of the hub that sends or receives.
    pub(super) generation: u32,
    pub(super) letter: Letter,
}

impl World {
    pub(super) fn order(&mut self, session: EngineId, order: Order) {
        let Some(record) = self.sessions.get_mut(&session) else { return };
        let (host, number) = (record.host, record.orders);
        record.orders += 1;
        self.send_to(session, host, Letter::Order { number, order });
    }

    pub(super) fn report(&mut self, host: usize, event: Event<String>) {
        self.send_from(host, Letter::Report(event));
    }

    pub(super) fn send_from(&mut self, host: usize, letter: Letter) {
        let (session, generation) = (self.hosts[host].session, self.hosts[host].generation);
        self.send(Envelope { host, session, to_hub: true, generation, letter });
    }

    pub(super) fn send_to(&mut self, session: EngineId, host: usize, letter: Letter) {
        self.send(Envelope { host, session, to_hub: false, generation: self.generation, letter });
    }

    pub(super) fn send(&mut self, envelope: Envelope) {
        match self.faults.verdict(&mut self.rng, self.now, envelope.host) {
            Verdict::Pass { at_least, at_most } => {
                let delay = self.rng.within(at_least, at_most);
                self.after(delay, Happening::Arrive(envelope));
            }
            Verdict::Twice { at_most } => {
                let (first, second) = (self.rng.below(at_most), self.rng.below(at_most));
                self.after(first, Happening::Arrive(envelope.clone()));
                self.after(second, Happening::Arrive(envelope));
                self.outcome.messages_doubled += 1;
            }
            Verdict::Drop => {
                self.outcome.messages_dropped += 1;
                if !matches!(envelope.letter, Letter::Beat | Letter::Heard | Letter::Over) {
                    self.after(RESEND, Happening::Send(envelope));
                }
            }
        }
    }

    /// Whether the sender is still the same process, and so still wants its letter to arrive.
    pub(super) fn sender_lives(&self, envelope: &Envelope) -> bool {
        match envelope.to_hub {
            true => self.hosts[envelope.host].alive && self.hosts[envelope.host].session == envelope.session,
            false => {
                let cares = |session: &Session| session.alive || session.pending;
                envelope.generation == self.generation && self.sessions.get(&envelope.session).is_some_and(cares)
            }
        }
    }
}
