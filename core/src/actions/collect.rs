//! `collect`: all items, in order, on the driver.

use super::counted::Counted;
use super::job::{Background, Job, PartAction, bytes_of};
use crate::dataset::Dataset;
use crate::heap::heap_bytes;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::ship::ship;
use crate::task::TaskContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::codec::prove_rows;
use tryworks_base::{Op, Result};

pub(super) struct Collect;

ship!([] Collect {});

impl<P: Pipe<Item: Serialize + DeserializeOwned>> PartAction<P> for Collect {
    type Out = Vec<P::Item>;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Vec<P::Item>> {
        let (mut items, mut counted) = (Vec::new(), Counted::new(task));
        drive(&mut cursor, task, &mut |item| {
            items.push(item);
            counted.count(&items, heap_bytes);
            CONTINUE
        })?;
        Ok(items)
    }

    fn prove(items: &mut Vec<P::Item>, check: bool) -> Result<()> {
        prove_rows(items, check)
    }

    fn bytes(items: &Vec<P::Item>) -> u64 {
        bytes_of(items)
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Dataset<P> {
    /// All items, in the order of the partitions.
    ///
    /// # Errors
    /// Why the job failed; [`Error::Limit`](tryworks_base::Error::Limit) if the items take more than
    /// `max_result_bytes`.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..3).collect()?, [0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn collect(&self) -> Result<Vec<P::Item>> {
        self.background().collect()?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Background<'_, P> {
    /// [`Dataset::collect`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn collect(&self) -> Result<Job<Vec<P::Item>>> {
        self.collected(Op::here("collect"))
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned>, E> Background<'_, P, E> {
    pub(super) fn collected(&self, op: Op) -> Result<Job<Vec<P::Item>>> {
        self.begin_job(op, Collect, |parts| Ok(parts.in_order()?.into_iter().flatten().collect()))
    }
}
