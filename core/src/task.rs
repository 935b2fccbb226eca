//! A task from inside: where it runs, whether it was cancelled, and whom to blame for a panic.

use crate::error::{Error, Place, Result, Site, UserFault};
use crate::host::Host;
use crate::lock::{Lock, none_held};
use crate::user_error::UserError;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a pipe knows of the task that runs it.
#[derive(Clone)]
pub struct Task {
    place: Place,
    host: Arc<dyn Host>,
    cancelled: Arc<AtomicBool>,
    /// Set while a segment of a boxed chain is opened: what its root reads instead of its own source.
    feed: Option<Feed>,
    checks_rows: bool,
}

/// Where a segment of a boxed chain finds its next batch.
pub(crate) type Feed = Arc<Lock<Option<Box<dyn Any + Send>>>>;

impl Task {
    /// A task at `place` in the process `host`, which stops when `cancelled` becomes true.
    pub fn new(place: Place, host: Arc<dyn Host>, cancelled: Arc<AtomicBool>) -> Self {
        Task { place, host, cancelled, feed: None, checks_rows: false }
    }

    /// The same, which encodes and decodes every row that it hands over, if that is asked for.
    #[must_use]
    pub fn checking_rows(self, checks_rows: bool) -> Self {
        Task { checks_rows, ..self }
    }

    /// Whether every row that is handed over is to be encoded and decoded.
    pub fn checks_rows(&self) -> bool {
        self.checks_rows
    }

    /// Where it runs.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The process around it.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// An error if the task was cancelled. To be asked once a batch.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// The same task as seen by a pipe that is fed from `feed`.
    pub(crate) fn fed(&self, feed: Option<Feed>) -> Self {
        Task { feed, ..self.clone() }
    }

    pub(crate) fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    /// The same task at another partition.
    pub(crate) fn at(&self, partition: u32) -> Self {
        Task { place: Place { partition, ..self.place }, ..self.clone() }
    }
}

/// The name of an operator and the call that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The operator, as its method is named.
    pub name: &'static str,
    /// The call in the program.
    pub site: Site,
}

thread_local! {
    static BLAMED: Cell<Option<Op>> = const { Cell::new(None) };
}

impl Op {
    /// An operator called by the caller's caller.
    #[track_caller]
    pub fn here(name: &'static str) -> Self {
        Op { name, site: Site::caller() }
    }

    /// Calls a function of the user's: a panic in it is put down to this operator. Costs nothing when there is none.
    #[inline(always)]
    pub fn call<R>(&self, function: impl FnOnce() -> R) -> R {
        struct Blame<'a>(&'a Op);
        impl Drop for Blame<'_> {
            #[cold]
            fn drop(&mut self) {
                // Only reached while unwinding; the innermost operator is the one to blame.
                BLAMED.with(|blamed| blamed.set(blamed.get().or(Some(*self.0))));
            }
        }
        none_held("calling a function of the user's");
        let blame = Blame(self);
        let value = function();
        std::mem::forget(blame);
        value
    }

    /// The operator that the last panic on this thread came from, once.
    pub fn take_blamed() -> Option<Op> {
        BLAMED.take()
    }

    /// The error of a user function that returned one.
    #[cold]
    pub fn failed(&self, error: UserError, place: Place) -> Error {
        Error::User(Box::new(UserFault {
            message: error.to_string(),
            panicked: false,
            operator: self.name.into(),
            site: self.site,
            source: Some(error.source_site()),
            place,
            engine: None,
            attempts: 1,
            backtrace: None,
        }))
    }
}

impl Serialize for Op {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.name, self.site).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (name, site) = <(String, Site)>::deserialize(from)?;
        Ok(Op { name: crate::intern::intern(&name), site })
    }
}
