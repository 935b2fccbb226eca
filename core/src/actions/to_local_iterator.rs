//! `to_local_iterator`: the items on the driver, with one partition in memory at a time.

use super::collect::Collect;
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::runner::guarded;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::{Op, Result};

/// The items of a dataset on the driver, partition by partition. After an error there are no more items.
pub struct LocalIterator<P: Pipe> {
    data: Dataset<P>,
    op: Op,
    /// The next partition.
    next: u32,
    items: std::vec::IntoIter<P::Item>,
}

impl<P: Pipe<Item: Serialize + DeserializeOwned>> LocalIterator<P> {
    fn read(&mut self) -> Result<()> {
        let partition = self.next;
        self.next += 1;
        let end = self.next.min(self.data.node.partitions);
        let parts = self.data.begin(self.op, Collect, partition.min(end)..end)?;
        let items = guarded(|code| parts.control.guard(code), || parts.in_order())?;
        self.items = items.into_iter().next().unwrap_or_default().into_iter();
        Ok(())
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned>> Iterator for LocalIterator<P> {
    type Item = Result<P::Item>;

    fn next(&mut self) -> Option<Result<P::Item>> {
        loop {
            if let Some(item) = self.items.next() {
                return Some(Ok(item));
            }
            // Even if there is no partition, one job says whether the plan has a mistake.
            if self.next > 0 && self.next >= self.data.node.partitions {
                return None;
            }
            if let Err(error) = self.read() {
                self.next = u32::MAX;
                return Some(Err(error));
            }
        }
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Dataset<P> {
    /// An iterator over all items, in order. Each partition is a job of its own, which runs when the iterator gets to
    /// it, and only one partition is in memory. What comes before the last shuffle runs once. An item is an error if
    /// the job of its partition failed; then the iterator ends.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let mut sum = 0;
    /// for n in cx.range(0..101).to_local_iterator() {
    ///     sum += n?;
    /// }
    /// assert_eq!(sum, 5050);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn to_local_iterator(&self) -> LocalIterator<P> {
        LocalIterator { data: self.clone(), op: Op::here("to_local_iterator"), next: 0, items: Vec::new().into_iter() }
    }
}
