//! Carries out the orders of the hub's state, and hands the outcomes back.

use crate::history;
use crate::journal::{Journal, Recovered};
use crate::programs::Shelf;
use crate::state::{Level, Lookup, Order, OrderOutcome};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tryworks_base::{Error, Result};
use tryworks_protocol::admin::Answer;
use tryworks_protocol::host::has_ended;
use tryworks_transport::PeerId;

/// Microseconds since 1970.
pub(crate) fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

/// Orders that only the loop itself can carry out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Renew the certificates, and answer the client.
    Renew(PeerId, u64),
    /// Stop the hub.
    Stop,
}

/// What is needed to carry out orders.
pub(crate) struct Carrier {
    pub(crate) journal: Journal,
    pub(crate) shelf: Shelf,
    /// Leads to the thread that asks the journal.
    desk: Sender<Lookup>,
    /// Takes outcomes to the loop.
    outcomes: UnboundedSender<OrderOutcome>,
    /// The journal's health as it was last reported.
    trouble: Option<Error>,
    reader: JoinHandle<()>,
}

impl Carrier {
    /// Opens the journal and the shelf in the hub's directory, and starts the thread that asks the journal. Outcomes
    /// arrive at the returned receiver.
    ///
    /// # Errors
    /// If the journal or the shelf cannot be opened.
    pub(crate) fn open(directory: &Path) -> Result<(Carrier, Recovered, UnboundedReceiver<OrderOutcome>)> {
        let (journal, recovered) = Journal::open(directory.join("journal.sqlite"))?;
        let reader = journal.reader()?;
        let (desk, lookups) = channel();
        let (outcomes, hears) = unbounded_channel();
        let programs = directory.join("programs");
        let shelf = Shelf::open(programs.clone(), outcomes.clone());
        let shelf = shelf.map_err(|error| Error::storage("looking for programs", programs, &error))?;
        let answers = outcomes.clone();
        let thread = std::thread::Builder::new().name("history".into());
        let thread = thread.spawn(move || history::answer(&reader, &lookups, &answers));
        let reader = thread.map_err(|error| Error::storage("starting a thread", "this process", &error))?;
        Ok((Carrier { journal, shelf, desk, outcomes, trouble: None, reader }, recovered, hears))
    }

    /// Whether the threads that use the journal are alive.
    pub(crate) fn lives(&self) -> bool {
        !self.reader.is_finished() && self.journal.lives()
    }

    /// The journal's health, if it has changed since the last call.
    pub(crate) fn health(&mut self) -> Option<OrderOutcome> {
        let now = self.journal.health().error;
        (now != self.trouble).then(|| {
            self.trouble.clone_from(&now);
            OrderOutcome::Health(now)
        })
    }

    /// Carries out an order, or returns it if only the loop can. Never waits.
    pub(crate) fn carry_out(&self, order: Order) -> Option<Rest> {
        let outcomes = || self.outcomes.clone();
        match order {
            Order::Note(entry) => self.journal.note(entry),
            Order::NoteJob { entry, job } => {
                let outcomes = outcomes();
                self.journal
                    .note_then(entry, move |outcome| drop(outcomes.send(OrderOutcome::Submitted { job, outcome })));
            }
            Order::NoteResult { entry, engine, attempt } => {
                let outcomes = outcomes();
                self.journal.note(entry);
                // A full disk delays the entry. The engine must keep the results until then: it deletes them on `Kept`.
                self.journal.when_written(move || drop(outcomes.send(OrderOutcome::Kept { engine, attempt })));
            }
            Order::Reserve { counter, end } => {
                let outcomes = outcomes();
                self.journal
                    .reserve(counter, end, move || drop(outcomes.send(OrderOutcome::Reserved { counter, end })));
            }
            // A result that is not written yet would count as lost, so this waits for the disk.
            Order::LookUp(lookup @ Lookup::Results { .. }) => {
                let desk = self.desk.clone();
                self.journal.when_written(move || drop(desk.send(lookup)));
            }
            // Other questions are answered from what is written, even while the disk is full.
            Order::LookUp(lookup) => {
                let desk = self.desk.clone();
                self.journal.after(move |_| drop(desk.send(lookup)));
            }
            Order::Shelf(order) => self.shelf.obey(&order),
            Order::LookAt { session, process } => {
                if let Some(ended) = has_ended(&process) {
                    self.tell(OrderOutcome::Looked { session, process, ended });
                }
            }
            Order::Status { peer, number, mut status } => {
                status.resident = tryworks_base::resident::anonymous_resident().unwrap_or(0);
                self.tell(OrderOutcome::Answer { peer, number, answer: Answer::Status(*status) });
            }
            Order::Renew { peer, number } => return Some(Rest::Renew(peer, number)),
            Order::Stop => return Some(Rest::Stop),
            Order::Log(Level::Info, text) => tracing::info!("{text}"),
            Order::Log(Level::Warning, text) => tracing::warn!("{text}"),
            Order::Log(Level::Error, text) => tracing::error!("{text}"),
        }
        None
    }

    /// Once the loop has ended there is no receiver, and the outcome is dropped.
    fn tell(&self, outcome: OrderOutcome) {
        drop(self.outcomes.send(outcome));
    }
}
