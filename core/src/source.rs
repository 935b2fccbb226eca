//! Where items come from: the contract of sources, and the pipe that reads one.

use crate::pipe::{Cursor, Flow, Pipe, Step};
use crate::ship::{Decoder, Encoder, Ship};
use crate::task::TaskContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tryworks_base::{Op, Result, Site, codec};

/// A partitioned input. The number of partitions, their items and the order of the items must depend on the input
/// alone: never on threads, memory or time.
///
/// A source is a serde value, because it is sent to the tasks that read it. The rules for that are under
/// [`Row`](crate::row::Row). They are checked when a dataset is made from the source.
pub trait Source: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The items that it yields.
    type Item: Send + 'static;
    /// One partition while it is read.
    type Cursor: Cursor<Item = Self::Item> + 'static;

    /// The number of partitions.
    fn partitions(&self) -> u32;

    /// Opens partition `partition`, which is less than [`partitions`](Source::partitions).
    ///
    /// # Errors
    /// The error of the input, with its name and the offset.
    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor>;

    /// Checks on the driver whether the codec carries the source. If the source has rows itself and `every` is true, it
    /// checks each of them.
    ///
    /// # Errors
    /// As [`prove_given`](tryworks_base::codec::prove_given).
    fn prove(&mut self, every: bool) -> Result<()> {
        codec::prove_given(self, every, false)
    }

    /// The type that the error names if the codec does not carry the source.
    fn blamed() -> &'static str {
        std::any::type_name::<Self>()
    }

    /// What `explain()` shows after the operator's name, such as the path.
    fn describe(&self) -> String {
        String::new()
    }
}

/// The pipe that reads a [`Source`].
pub struct Read<S> {
    source: Arc<S>,
    op: Op,
}

impl<S> Clone for Read<S> {
    fn clone(&self) -> Self {
        Read { source: self.source.clone(), op: self.op }
    }
}

impl<S: Source> Read<S> {
    pub(crate) fn new(source: S, op: Op) -> Self {
        Read { source: Arc::new(source), op }
    }
}

impl<S: Source> Ship for Read<S> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.value(&self.op)?;
        to.given(&*self.source).map_err(|error| error.blaming(S::blamed()))
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        let op: Op = from.value()?;
        let source = from.given().map_err(|error| error.blaming(S::blamed()).at(op.site))?;
        Ok(Read { source: Arc::new(source), op })
    }
}

impl<S: Source> Pipe for Read<S> {
    type Item = S::Item;
    type Cursor = ReadCursor<S::Cursor>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        let site = self.op.site;
        let cursor = self.source.open(partition, task).map_err(|error| error.at(site))?;
        Ok(ReadCursor { cursor, site })
    }
}

/// One partition of a source. Its errors name the call that made the source.
pub struct ReadCursor<C> {
    cursor: C,
    site: Site,
}

impl<C: Cursor> Cursor for ReadCursor<C> {
    type Item = C::Item;
    const EXPANDS: bool = C::EXPANDS;

    #[inline]
    fn advance<S: FnMut(C::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        self.cursor.advance(budget, sink).map_err(|error| error.at(self.site))
    }

    #[inline]
    fn advance_text<S: FnMut(&str) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step>
    where
        C::Item: AsRef<str>,
    {
        self.cursor.advance_text(budget, sink).map_err(|error| error.at(self.site))
    }

    fn rest<S: FnMut(C::Item) -> Flow>(&mut self, sink: &mut S) -> Result<Flow> {
        self.cursor.rest(sink).map_err(|error| error.at(self.site))
    }
}
