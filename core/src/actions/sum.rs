//! `sum`: adds all numbers up; an error if the sum does not fit.

use super::job::{Background, Job, PartAction};
use crate::dataset::Dataset;
use crate::exchange::unless_failed;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::ship::ship;
use crate::summand::{Summand, too_large};
use crate::task::TaskContext;
use tryworks_base::{Op, Result};

struct Sum {
    op: Op,
}

ship!([] Sum { op: value });

impl<P: Pipe<Item: Summand>> PartAction<P> for Sum {
    type Out = <P::Item as Summand>::Sum;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Self::Out> {
        let (mut sum, mut failed) = (Some(P::Item::nothing()), None);
        drive(&mut cursor, task, &mut |item| {
            sum = sum.take().and_then(|sum| self.op.call(|| P::Item::add(sum, item)));
            if sum.is_some() {
                return CONTINUE;
            }
            unless_failed(Err(too_large::<P::Item>(&self.op, "")), &mut failed)
        })?;
        sum.ok_or_else(|| failed.unwrap_or_else(|| too_large::<P::Item>(&self.op, "")))
    }
}

/// # Actions
impl<P: Pipe<Item: Summand>> Dataset<P> {
    /// The sum of all numbers: first of each partition, then of the partitions, in order.
    ///
    /// # Errors
    /// Why the job failed; an error that names the call if the sum does not fit into the type of the numbers.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..101).sum()?, 5050);
    /// let error = cx.range(0..101).map(|n| n as u8).sum().unwrap_err();
    /// assert!(error.to_string().starts_with("sum: the sum does not fit into `u8`"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sum(&self) -> Result<P::Item> {
        self.background().sum()?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Summand>> Background<'_, P> {
    /// [`Dataset::sum`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn sum(&self) -> Result<Job<P::Item>> {
        let op = Op::here("sum");
        self.begin_job(op, Sum { op }, move |parts| {
            let parts = parts.in_order()?;
            let sum = op.call(|| parts.into_iter().try_fold(P::Item::nothing(), P::Item::join).and_then(P::Item::end));
            sum.ok_or_else(|| too_large::<P::Item>(&op, ""))
        })
    }
}
