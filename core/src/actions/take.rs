//! `take` and `first`: the first items, from as few partitions as they are in.

use super::job::{PartAction, bytes_of};
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Pipe, STOP, drive};
use crate::ship::{Decoder, Encoder, Ship};
use crate::task::Task;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::codec::prove_rows;
use tryworks_base::{Error, Op, Result};

struct Take(usize);

impl Ship for Take {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.value(&self.0)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Take(from.value()?))
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned>> PartAction<P> for Take {
    type Out = Vec<P::Item>;

    fn run(&self, mut cursor: P::Cursor, task: &Task) -> Result<Vec<P::Item>> {
        let mut items = Vec::new();
        drive(&mut cursor, task, &mut |item| {
            items.push(item);
            if items.len() == self.0 { STOP } else { CONTINUE }
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

impl<P: Pipe<Item: Serialize + DeserializeOwned>> Dataset<P> {
    /// The first `n` items, in order. It begins with the first partition, and goes on with four times as many as
    /// before while there are not enough.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..1_000_000).take(3)?, [0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take(&self, n: usize) -> Result<Vec<P::Item>> {
        self.taken(Op::here("take"), n)
    }

    /// The first item.
    ///
    /// # Errors
    /// Why the job failed; an error if there is no item at all.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(7..1_000_000).first()?, 7);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn first(&self) -> Result<P::Item> {
        let op = Op::here("first");
        let none = Error::Plan { message: "first: there is no item".into(), site: op.site };
        self.taken(op, 1)?.pop().ok_or(none)
    }

    fn taken(&self, op: Op, n: usize) -> Result<Vec<P::Item>> {
        let mut items = Vec::new();
        let (mut from, mut width) = (0, 1u32);
        if n == 0 || self.node.partitions == 0 {
            // There is nothing to run, but a mistake in the plan is told all the same.
            self.begin(op, Take(0), 0..0)?.in_order()?;
        }
        while items.len() < n && from < self.node.partitions {
            let to = from.saturating_add(width).min(self.node.partitions);
            let parts = self.begin(op, Take(n - items.len()), from..to)?;
            items.extend(parts.in_order()?.into_iter().flatten());
            (from, width) = (to, width.saturating_mul(4));
        }
        items.truncate(n);
        Ok(items)
    }
}
