//! The contract of pipes: a chain of operators as one type, pushed through in resumable batches.

use crate::ship::Ship;
use crate::task::TaskContext;
use std::ops::ControlFlow;
use tryworks_base::Result;

/// What a sink answers to an item: go on, or nothing more is wanted.
pub type Flow = ControlFlow<()>;

/// Go on.
pub const CONTINUE: Flow = ControlFlow::Continue(());
/// Nothing more is wanted.
pub const STOP: Flow = ControlFlow::Break(());

/// How many source items are pushed through a chain before the driver of the loop looks up: often enough to stop or
/// to cancel, seldom enough to cost nothing.
pub const BATCH: usize = 1024;

/// Whether a cursor has more to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more: advance again.
    More,
    /// The partition is at its end.
    Done,
}

/// One partition of a pipe while it is being read: it can be stopped between any two batches and go on later.
pub trait Cursor: Send {
    /// What it yields.
    type Item;

    /// Pushes the yield of about `budget` source items into `sink`. A sink that answers [`STOP`] gets no further
    /// item; the cursor is not advanced again after that.
    ///
    /// # Errors
    /// What the source or a user function met. The cursor is not advanced again after an error.
    fn advance<S: FnMut(Self::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step>;
}

/// A chain of operators between two shuffles, as one Rust type. It is a description: opening a partition makes a
/// [`Cursor`] that runs it as one compiled loop.
///
/// Every closure in a pipe is zero-sized, so that its type is its code and a pipe can be sent to another process of
/// the same program. A zero-sized *token* captured by value passes that check too: do not rest a proof on one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no pipe: the parameter of a `Dataset` says how it is made, not what is in it",
    label = "not a pipe",
    note = "for a dataset of `{Self}`, however it is made, write `Data<{Self}>`; `.boxed()` makes one",
    note = "or `Dataset<impl Pipe<Item = {Self}>>`, which costs nothing"
)]
pub trait Pipe: Ship + Clone + Send + Sync + 'static {
    /// What it yields.
    type Item: Send + 'static;
    /// One partition being read.
    type Cursor: Cursor<Item = Self::Item> + 'static;

    /// Begins to read a partition.
    ///
    /// # Errors
    /// What the source met.
    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor>;

    /// For a chain of operators over a [`Boxed`](crate::data::Boxed) pipe: that pipe. Lets `.boxed()` in a loop
    /// grow a flat list instead of a nest.
    #[doc(hidden)]
    fn feed(&self) -> Option<&crate::links::Links> {
        None
    }

    /// For a pipe that only says which partitions of others are read: that, which `.boxed()` keeps flat.
    #[doc(hidden)]
    fn link(&self) -> Option<crate::links::Link> {
        None
    }
}

/// Pushes everything that is left in `cursor` into `sink`, looking between batches whether the task was cancelled.
///
/// # Errors
/// What the cursor met, or [`Error::Cancelled`](tryworks_base::Error::Cancelled).
pub fn drive<C: Cursor>(cursor: &mut C, task: &TaskContext, sink: &mut impl FnMut(C::Item) -> Flow) -> Result<()> {
    let mut flow = CONTINUE;
    loop {
        task.check()?;
        let step = cursor.advance(BATCH, &mut |item| {
            flow = sink(item);
            flow
        })?;
        if flow.is_break() || step == Step::Done {
            return Ok(());
        }
    }
}
