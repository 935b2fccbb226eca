//! Carries out what the hub's state orders, and brings back what came of it.

use crate::history;
use crate::journal::{Journal, Recovered};
use crate::programs::Shelf;
use crate::state::{Level, Lookup, Order, Told};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tryworks_base::{Error, Result};
use tryworks_protocol::admin::Answer;
use tryworks_protocol::host::has_ended;
use tryworks_scheduler::Time;
use tryworks_transport::PeerId;

/// The hub's clock: the one place where its loop gets the time from that its state is handed.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn begin() -> Self {
        Clock(Instant::now())
    }

    pub(crate) fn now(self) -> Time {
        Time(0) + self.0.elapsed()
    }
}

/// Microseconds since 1970.
pub(crate) fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

/// What only the loop itself can do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Renew the certificates, and answer.
    Renew(PeerId, u64),
    /// End.
    Stop,
}

/// What orders are carried out with.
pub(crate) struct Carrier {
    pub(crate) journal: Journal,
    pub(crate) shelf: Shelf,
    /// For questions to the journal.
    desk: Sender<Lookup>,
    /// Where outcomes go.
    told: UnboundedSender<Told>,
    /// What was last said of the journal's health.
    trouble: Option<Error>,
    reader: JoinHandle<()>,
}

impl Carrier {
    /// Opens the journal and the shelf in the hub's directory, and starts the thread that asks the journal. Outcomes come
    /// by what is returned last.
    ///
    /// # Errors
    /// If they cannot be opened.
    pub(crate) fn open(directory: &Path) -> Result<(Carrier, Recovered, UnboundedReceiver<Told>)> {
        let (journal, recovered) = Journal::open(directory.join("journal.sqlite"))?;
        let reader = journal.reader()?;
        let (desk, lookups) = channel();
        let (told, hears) = unbounded_channel();
        let programs = directory.join("programs");
        let shelf = Shelf::open(programs.clone(), told.clone());
        let shelf = shelf.map_err(|error| Error::storage("looking for programs", programs, &error))?;
        let answers = told.clone();
        let thread = std::thread::Builder::new().name("history".into());
        let thread = thread.spawn(move || history::answer(&reader, &lookups, &answers));
        let reader = thread.map_err(|error| Error::storage("starting a thread", "this process", &error))?;
        Ok((Carrier { journal, shelf, desk, told, trouble: None, reader }, recovered, hears))
    }

    /// Whether the threads that use the journal are there.
    pub(crate) fn lives(&self) -> bool {
        !self.reader.is_finished() && self.journal.lives()
    }

    /// How the journal is, if that has changed since it was asked last.
    pub(crate) fn health(&mut self) -> Option<Told> {
        let now = self.journal.health().error;
        (now != self.trouble).then(|| {
            self.trouble.clone_from(&now);
            Told::Health(now)
        })
    }

    /// Carries out an order, unless only the loop can. Nothing is waited for.
    pub(crate) fn carry_out(&self, order: Order) -> Option<Rest> {
        let told = || self.told.clone();
        match order {
            Order::Note(entry) => self.journal.note(entry),
            Order::NoteJob { entry, job } => {
                let told = told();
                self.journal.note_then(entry, move |outcome| drop(told.send(Told::Submitted { job, outcome })));
            }
            Order::NoteResult { entry, engine, attempt } => {
                let told = told();
                let then = move |outcome| drop(told.send(Told::Kept { engine, attempt, outcome }));
                self.journal.note_then(entry, then);
            }
            Order::Reserve { counter, end } => {
                let told = told();
                self.journal.reserve(counter, end, move || drop(told.send(Told::Reserved { counter, end })));
            }
            // What is not written yet would be taken for lost.
            Order::LookUp(lookup @ Lookup::Results { .. }) => {
                let desk = self.desk.clone();
                self.journal.when_written(move || drop(desk.send(lookup)));
            }
            // People are told what is written, also while the disk is full.
            Order::LookUp(lookup) => {
                let desk = self.desk.clone();
                self.journal.after(move |_| drop(desk.send(lookup)));
            }
            Order::Shelf(order) => self.shelf.obey(&order),
            Order::LookAt { session, process } => {
                if let Some(ended) = has_ended(&process) {
                    self.tell(Told::Looked { session, process, ended });
                }
            }
            Order::Status { peer, number, mut status } => {
                status.resident = tryworks_base::resident::anonymous_resident().unwrap_or(0);
                self.tell(Told::Answer { peer, number, answer: Answer::Status(*status) });
            }
            Order::Renew { peer, number } => return Some(Rest::Renew(peer, number)),
            Order::Stop => return Some(Rest::Stop),
            Order::Log(Level::Info, text) => tracing::info!("{text}"),
            Order::Log(Level::Warning, text) => tracing::warn!("{text}"),
            Order::Log(Level::Error, text) => tracing::error!("{text}"),
        }
        None
    }

    /// The receiver goes when the loop ends, which then hears of nothing more.
    fn tell(&self, told: Told) {
        drop(self.told.send(told));
    }
}
