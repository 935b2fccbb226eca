//! Where items come from: the contract of sources, and the pipe that reads one.

use crate::pipe::{Cursor, Pipe};
use crate::ship::{Decoder, Encoder, Ship};
use crate::task::TaskContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tryworks_base::{Result, codec};

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
pub struct Read<S>(Arc<S>);

impl<S> Clone for Read<S> {
    fn clone(&self) -> Self {
        Read(self.0.clone())
    }
}

impl<S: Source> Read<S> {
    pub(crate) fn new(source: S) -> Self {
        Read(Arc::new(source))
    }
}

impl<S: Source> Ship for Read<S> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.given(&*self.0).map_err(|error| error.blaming(S::blamed()))
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        let source = from.given().map_err(|error| error.blaming(S::blamed()))?;
        Ok(Read(Arc::new(source)))
    }
}

impl<S: Source> Pipe for Read<S> {
    type Item = S::Item;
    type Cursor = S::Cursor;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<S::Cursor> {
        self.0.open(partition, task)
    }
}
