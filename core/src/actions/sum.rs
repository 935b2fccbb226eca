//! `sum`: all numbers added up.

use super::job::{Background, Job, PartAction};
use crate::dataset::Dataset;
use crate::error::Result;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::ship::{Decoder, Encoder, Ship};
use crate::task::{Op, Task};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::iter::Sum as Summed;
use std::ops::Add;

struct Sum {
    op: Op,
}

impl Ship for Sum {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.value(&self.op)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Sum { op: from.value()? })
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned + Copy + Add<Output = P::Item> + Summed>> PartAction<P> for Sum {
    type Out = P::Item;

    fn run(&self, mut cursor: P::Cursor, task: &Task) -> Result<P::Item> {
        let mut sum: P::Item = std::iter::empty().sum();
        drive(&mut cursor, task, &mut |item| {
            // An overflow panics where the program asks for that.
            sum = self.op.call(|| sum + item);
            CONTINUE
        })?;
        Ok(sum)
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned + Copy + Add<Output = P::Item> + Summed>> Dataset<P> {
    /// The sum of all numbers, partition by partition and then over them, in order.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..101).sum()?, 5050);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sum(&self) -> Result<P::Item> {
        self.background().sum()?.wait()
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned + Copy + Add<Output = P::Item> + Summed>> Background<'_, P> {
    /// [`Dataset::sum`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn sum(&self) -> Result<Job<P::Item>> {
        let op = Op::here("sum");
        self.begin_job(op, Sum { op }, move |parts| {
            let parts = parts.in_order()?;
            Ok(op.call(|| parts.into_iter().sum()))
        })
    }
}
