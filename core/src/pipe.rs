//! The contract of pipes: a chain of operators as one type, which runs in resumable batches.

use crate::ship::Ship;
use crate::task::TaskContext;
use std::ops::ControlFlow;
use tryworks_base::Result;

/// A sink's answer to an item: go on, or stop.
pub type Flow = ControlFlow<()>;

/// The sink wants more items.
pub const CONTINUE: Flow = ControlFlow::Continue(());
/// The sink wants no more items.
pub const STOP: Flow = ControlFlow::Break(());

/// How many source items are pushed through a chain between two checks whether to stop: few enough to stop soon, enough
/// to cost nothing.
pub const BATCH: usize = 1024;

/// Whether a cursor may yield more items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more items: advance again.
    More,
    /// The partition has ended.
    Done,
}

/// One partition of a pipe while it is read. It can be stopped after any item and go on later.
///
/// The items and their order must not depend on the budgets with which it is advanced, nor on where its sinks stop.
pub trait Cursor: Send {
    /// The items that it yields.
    type Item;
    /// Whether a step may yield far more items than its budget, or than [`BATCH`] if that is more. `true` is always right,
    /// and `false` saves operators that gather items from counting them.
    const EXPANDS: bool = true;

    /// Pushes what about `budget` source items yield into `sink`. After [`STOP`] the sink must get no further item in
    /// this call, which must return [`Step::More`]. The next calls of [`rest`](Cursor::rest) and then of this go on
    /// after the item at which the sink stopped. So a consumer can hold a bounded number of items, however many a single
    /// source item yields.
    ///
    /// # Errors
    /// An error of the source or of a user's function. The cursor is not advanced again after it.
    fn advance<S: FnMut(Self::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step>;

    /// Pushes what is left of the source item at which the sink stopped before into `sink`. Returns [`STOP`] if the sink
    /// stops again. This is not a part of [`advance`](Cursor::advance): a consumer that never stops does not need it, and
    /// its loop is better without.
    ///
    /// A cursor whose `advance` itself goes on after any item has no use for it, unless it advances another cursor with
    /// its own sink: then it passes this on.
    ///
    /// # Errors
    /// As [`advance`](Cursor::advance).
    fn rest<S: FnMut(Self::Item) -> Flow>(&mut self, sink: &mut S) -> Result<Flow> {
        let _ = sink;
        Ok(CONTINUE)
    }

    /// As [`advance`](Cursor::advance), for operators that look at text whatever its items are: a source of lines may
    /// push many lines as one text, with the newlines between them.
    ///
    /// # Errors
    /// As [`advance`](Cursor::advance).
    #[inline]
    fn advance_text<S: FnMut(&str) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step>
    where
        Self::Item: AsRef<str>,
    {
        self.advance(budget, &mut |item| sink(item.as_ref()))
    }
}

/// A chain of operators between two shuffles, as one Rust type. It is a description: opening a partition makes a
/// [`Cursor`] that runs it as one compiled loop.
///
/// Every closure in a pipe is zero-sized. So its type is its code, and a pipe can be sent to another process of the
/// same program. A zero-sized *token* that a closure captures by value passes this check, too: do not use such tokens
/// as proofs.
///
/// Opening the same partition again must give the same items in the same order, in any process; a pipe for which this
/// is not so belongs under a nondeterministic node of the lineage.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no pipe: the parameter of a `Dataset` says how it is made, not what is in it",
    label = "not a pipe",
    note = "for a dataset of `{Self}`, however it is made, write `Data<{Self}>`; `.boxed()` makes one",
    note = "or `Dataset<impl Pipe<Item = {Self}>>`, which costs nothing"
)]
pub trait Pipe: Ship + Clone + Send + Sync + 'static {
    /// The items that it yields.
    type Item: Send + 'static;
    /// One partition while it is read.
    type Cursor: Cursor<Item = Self::Item> + 'static;

    /// Opens a partition for reading.
    ///
    /// # Errors
    /// An error of the source.
    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor>;

    /// For a chain of operators over a [`Boxed`](crate::data::Boxed) pipe: the links of that pipe. With this,
    /// `.boxed()` in a loop extends a flat list and does not nest.
    #[doc(hidden)]
    fn feed(&self) -> Option<&crate::links::Links> {
        None
    }

    /// For a pipe that only says which partitions of other pipes are read: a link that says so. `.boxed()` keeps it
    /// flat.
    #[doc(hidden)]
    fn link(&self) -> Option<crate::links::Link> {
        None
    }
}

/// After how many items that it yields for one source item an operator checks whether the task was cancelled.
pub(crate) const CHECK: usize = 4096;

/// Pushes all remaining items of `cursor` into `sink`. Between batches it checks whether the task was cancelled.
///
/// # Errors
/// An error of the cursor, or [`Error::Cancelled`](tryworks_base::Error::Cancelled).
pub fn drive<C: Cursor>(cursor: &mut C, task: &TaskContext, sink: &mut impl FnMut(C::Item) -> Flow) -> Result<()> {
    let mut stopped = false;
    loop {
        task.check()?;
        let step = cursor.advance(BATCH, &mut |item| {
            let flow = sink(item);
            // Nothing is written while the sink goes on.
            if flow.is_break() {
                stopped = true;
            }
            flow
        })?;
        if stopped || step == Step::Done {
            return Ok(());
        }
    }
}
