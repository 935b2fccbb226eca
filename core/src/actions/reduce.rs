//! `reduce`, `min` and `max`: all items folded into one.

use super::job::{Background, Job, PartAction};
use crate::call::Call2;
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::ship::{Code, Decoder, Encoder, Plain, Ship};
use crate::task::Task;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::{Error, Op, Result};

struct Reduce<F> {
    function: F,
    op: Op,
}

impl<F: Ship> Ship for Reduce<F> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.function.encode(to)?;
        to.value(&self.op)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Reduce { function: F::decode(from)?, op: from.value()? })
    }
}

impl<P, F> PartAction<P> for Reduce<F>
where
    P: Pipe<Item: Serialize + DeserializeOwned>,
    F: Call2<P::Item, P::Item, Out = P::Item>,
{
    type Out = Option<P::Item>;

    fn run(&self, mut cursor: P::Cursor, task: &Task) -> Result<Option<P::Item>> {
        self.function.ready(&self.op, task.place())?;
        let mut reduced: Option<P::Item> = None;
        drive(&mut cursor, task, &mut |item| {
            reduced = Some(match reduced.take() {
                Some(before) => self.op.call(|| self.function.call(before, item)),
                None => item,
            });
            CONTINUE
        })?;
        Ok(reduced)
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned>> Dataset<P> {
    /// Folds all items into one by a function that is associative, partition by partition and then over them, in
    /// order.
    ///
    /// # Errors
    /// Why the job failed; an error if there is no item at all.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(1..6).reduce(|a, b| a * b)?, 120);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reduce<F: Fn(P::Item, P::Item) -> P::Item + Code>(&self, function: F) -> Result<P::Item> {
        self.background().reduce(function)?.wait()
    }

    /// The least item; of equal ones the first.
    ///
    /// # Errors
    /// Why the job failed; an error if there is no item at all.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..9).map(|n| n * 5 % 9).min()?, 0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn min(&self) -> Result<P::Item>
    where
        P::Item: Ord,
    {
        self.background().reduced(Op::here("min"), |a: P::Item, b| if b.cmp(&a).is_lt() { b } else { a })?.wait()
    }

    /// The greatest item; of equal ones the first.
    ///
    /// # Errors
    /// Why the job failed; an error if there is no item at all.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..9).map(|n| n * 5 % 9).max()?, 8);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn max(&self) -> Result<P::Item>
    where
        P::Item: Ord,
    {
        self.background().reduced(Op::here("max"), |a: P::Item, b| if b.cmp(&a).is_gt() { b } else { a })?.wait()
    }
}

impl<P: Pipe<Item: Serialize + DeserializeOwned>> Background<'_, P> {
    /// [`Dataset::reduce`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn reduce<F: Fn(P::Item, P::Item) -> P::Item + Code>(&self, function: F) -> Result<Job<P::Item>> {
        const {
            assert!(
                size_of::<F>() == 0,
                "this closure captures something: use `aggregate`, whose first value can carry it"
            )
        }
        self.reduced(Op::here("reduce"), function)
    }

    fn reduced<F: Fn(P::Item, P::Item) -> P::Item + Code>(&self, op: Op, function: F) -> Result<Job<P::Item>> {
        self.begin_job(op, Reduce { function: Plain(function), op }, move |parts| {
            let reduced = parts.in_order()?.into_iter().flatten();
            let reduced = reduced.reduce(|a, b| op.call(|| function(a, b)));
            let message = format!("{}: there is no item; `fold` has a value for that case", op.name);
            reduced.ok_or(Error::Plan { message, site: op.site })
        })
    }
}
