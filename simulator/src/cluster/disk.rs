//! The journal's disk. Entries are written soon, or much later, or not at all while the disk is full. Entries that are
//! not written yet are lost with the hub.

use super::{Bug, Happening, MS, SECOND, World};
use crate::checkers::Violation;
use tryworks_base::Error;
use tryworks_base::ids::{AttemptId, EngineId, JobId};
use tryworks_hub::journal::{Counter, InMemory, Recovered, ToWrite};
use tryworks_hub::look_up;
use tryworks_hub::state::{Lookup, Order, OrderOutcome};
use tryworks_protocol::admin::Answer;
use tryworks_scheduler::Time;

/// Which outcome to hand in when everything before it is written.
#[derive(Debug)]
enum Then {
    Submitted(JobId),
    Kept(EngineId, AttemptId),
    Reserved(Counter, u64),
    LookUp(Lookup),
}

#[derive(Debug)]
struct Pending {
    write: Option<ToWrite>,
    then: Option<Then>,
}

pub(super) struct Disk {
    pub journal: InMemory,
    pending: Vec<Pending>,
    /// A commit is in progress.
    busy: bool,
    pub slow_until: Time,
    pub full_until: Time,
    pub was_full: bool,
    /// Up to which number the journal has reserved numbers, for each counter.
    pub reserved: [u64; 4],
    error: Option<Error>,
    /// The state of the disk as the hub last learned it.
    reported: Option<Error>,
}

impl Disk {
    pub fn new() -> Self {
        Disk {
            journal: InMemory::new().unwrap_or_else(|error| panic!("there is no memory for a journal: {error}")),
            pending: Vec::new(),
            busy: false,
            slow_until: Time(0),
            full_until: Time(0),
            was_full: false,
            reserved: [0; 4],
            error: None,
            reported: None,
        }
    }

    fn write(&mut self, writes: Vec<ToWrite>) -> Result<Vec<(usize, Error)>, Violation> {
        for write in &writes {
            if let ToWrite::Reserve(counter, end) = write {
                self.reserved[*counter as usize] = *end;
            }
        }
        self.journal.write(writes).map_err(|error| format!("the journal cannot be written: {error}"))
    }

    /// The state of the disk, if the hub does not know it yet.
    pub fn health(&mut self) -> Option<OrderOutcome> {
        (self.error != self.reported).then(|| {
            self.reported.clone_from(&self.error);
            OrderOutcome::Health(self.error.clone())
        })
    }
}

impl World {
    /// A hub starts from what is written.
    pub(super) fn recover(&mut self) -> Result<Recovered, Violation> {
        let found = self.disk.journal.begin().map_err(|error| format!("the journal cannot be read: {error}"))?;
        (self.disk.busy, self.disk.error, self.disk.reported) = (false, None, None);
        self.disk.reserved = Counter::ALL.map(|counter| found.numbers.reserved(counter));
        Ok(found)
    }

    /// The hub dies: some of its last entries may have been written.
    pub(super) fn lose_pending(&mut self) {
        let mut pending = std::mem::take(&mut self.disk.pending);
        let full = self.now < self.disk.full_until;
        let written = if full { 0 } else { self.rng.below(pending.len() as u64 + 1) as usize };
        let lost = pending.split_off(written);
        self.outcome.entries_lost += lost.iter().filter(|pending| pending.write.is_some()).count() as u64;
        let writes = pending.into_iter().filter_map(|pending| pending.write).collect();
        if let Err(violation) = self.disk.write(writes) {
            panic!("{violation}");
        }
    }

    pub(super) fn carry_out(&mut self, order: Order) {
        let entry = |entry| Some(ToWrite::Entry(entry));
        let pending = match order {
            Order::Note(note) => Pending { write: entry(note), then: None },
            Order::NoteJob { entry: note, job } => {
                if self.options.bug == Some(Bug::AcceptEarly) {
                    self.outcome.planted += 1;
                    self.tell(0, OrderOutcome::Submitted { job, outcome: Ok(()) });
                }
                Pending { write: entry(note), then: Some(Then::Submitted(job)) }
            }
            Order::NoteResult { entry: note, engine, attempt } => {
                if self.options.bug == Some(Bug::ReceiveEarly) {
                    self.outcome.planted += 1;
                    self.tell(0, OrderOutcome::Kept { engine, attempt });
                }
                Pending { write: entry(note), then: Some(Then::Kept(engine, attempt)) }
            }
            Order::Reserve { counter, end } => {
                let keeps = self.options.bug != Some(Bug::KeepNoNumbers);
                self.outcome.planted += u64::from(!keeps);
                let write = keeps.then_some(ToWrite::Reserve(counter, end));
                Pending { write, then: Some(Then::Reserved(counter, end)) }
            }
            Order::LookUp(lookup) => Pending { write: None, then: Some(Then::LookUp(lookup)) },
            Order::Status { peer, number, status } => {
                return self.tell(0, OrderOutcome::Answer { peer, number, answer: Answer::Status(*status) });
            }
            Order::Log(level, text) => {
                if self.options.trace {
                    println!("{:?} {level:?}: {text}", self.now);
                }
                return;
            }
            // No process runs on the hub's machine, nothing is sent to its data port, and nothing stops it.
            Order::Shelf(_) | Order::LookAt { .. } | Order::Renew { .. } | Order::Stop => return,
        };
        self.disk.pending.push(pending);
        if !std::mem::replace(&mut self.disk.busy, true) {
            self.commit_soon();
        }
    }

    fn commit_soon(&mut self) {
        let slow = self.now < self.disk.slow_until;
        self.outcome.slow_commits += u64::from(slow);
        let most = if slow { 2 * SECOND } else { 6 * MS };
        self.soon(0, most, Happening::Commit(self.generation));
    }

    fn tell(&mut self, late: u64, outcome: OrderOutcome) {
        self.after(late, Happening::OrderDone(self.generation, Box::new(outcome)));
    }

    pub(super) fn commit(&mut self) -> Result<(), Violation> {
        self.disk.busy = false;
        let full = self.now < self.disk.full_until;
        let ignored = full && self.options.bug == Some(Bug::IgnoreFull);
        if full && !ignored {
            self.commit_fails();
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.disk.pending);
        if ignored {
            self.outcome.planted += 1;
            pending.iter_mut().for_each(|pending| pending.write = None);
        }
        let (mut writes, mut at) = (Vec::new(), Vec::new());
        for (place, pending) in pending.iter_mut().enumerate() {
            if let Some(write) = pending.write.take() {
                writes.push(write);
                at.push(place);
            }
        }
        let refused = self.disk.write(writes)?;
        self.disk.error = None;
        for (place, pending) in pending.into_iter().enumerate() {
            let refused = refused.iter().find(|(write, _)| at[*write] == place);
            let outcome = refused.map_or(Ok(()), |(_, error)| Err(error.clone()));
            match pending.then {
                Some(Then::Submitted(job)) => self.tell(0, OrderOutcome::Submitted { job, outcome }),
                Some(Then::Kept(engine, attempt)) => self.tell(0, OrderOutcome::Kept { engine, attempt }),
                Some(Then::Reserved(counter, end)) => self.tell(0, OrderOutcome::Reserved { counter, end }),
                Some(Then::LookUp(lookup)) => self.answer(lookup),
                None => {}
            }
        }
        Ok(())
    }

    /// A commit fails, and its entries wait for the next one. Callers that wait for a confirmation get the error. A job
    /// whose entry waits is refused for good.
    fn commit_fails(&mut self) {
        self.outcome.full_commits += 1;
        let error = Error::Storage {
            doing: "using the journal".into(),
            path: "journal.sqlite".into(),
            message: "the disk is full".into(),
        };
        (self.disk.error, self.disk.was_full) = (Some(error.clone()), true);
        let mut committed = Vec::new();
        for pending in &mut self.disk.pending {
            // These wait until they succeed, however long it takes.
            let asked = |then: &mut Then| match then {
                Then::Reserved(..) | Then::Kept(..) | Then::LookUp(Lookup::Results { .. }) => false,
                Then::Submitted(_) | Then::LookUp(_) => true,
            };
            let given_up = pending.then.take_if(asked);
            if let Some(Then::Submitted(_)) = given_up {
                pending.write = None;
            }
            committed.extend(given_up);
        }
        self.disk.pending.retain(|pending| pending.write.is_some() || pending.then.is_some());
        for then in committed {
            let outcome = Err(error.clone());
            match then {
                Then::Submitted(job) => self.tell(0, OrderOutcome::Submitted { job, outcome }),
                Then::LookUp(lookup) => self.answer(lookup),
                Then::Reserved(..) | Then::Kept(..) => {}
            }
        }
        self.disk.busy = true;
        self.soon(100 * MS, SECOND, Happening::Commit(self.generation));
    }

    fn answer(&mut self, lookup: Lookup) {
        let mut outcomes = Vec::new();
        look_up(self.disk.journal.reader(), lookup, &mut |one| outcomes.push(one));
        let late = self.rng.within(0, 5 * MS);
        outcomes.into_iter().for_each(|one| self.tell(late, one));
    }
}
