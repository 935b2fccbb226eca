//! `aggregate`: all items folded into a value of another type.

use super::job::{Background, Job, PartAction};
use crate::call::Call2;
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::row::Row;
use crate::ship::{Code, Decoder, Encoder, Plain, Ship};
use crate::task::Task;
use tryworks_base::{Op, Result};

/// Folds a partition from a first value on.
pub(super) struct FoldFrom<A, F> {
    pub(super) zero: A,
    pub(super) function: F,
    pub(super) op: Op,
}

impl<A: Row, F: Ship> Ship for FoldFrom<A, F> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.given(&self.zero)?;
        self.function.encode(to)?;
        to.value(&self.op)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(FoldFrom { zero: from.given()?, function: F::decode(from)?, op: from.value()? })
    }
}

impl<P: Pipe, A: Row, F: Call2<A, P::Item, Out = A>> PartAction<P> for FoldFrom<A, F> {
    type Out = A;

    fn run(&self, mut cursor: P::Cursor, task: &Task) -> Result<A> {
        self.function.ready(&self.op, task.place())?;
        let mut folded = Some(self.zero.clone());
        drive(&mut cursor, task, &mut |item| {
            folded = folded.take().map(|folded| self.op.call(|| self.function.call(folded, item)));
            CONTINUE
        })?;
        Ok(folded.unwrap_or_else(|| unreachable!("it is only taken to be put back")))
    }
}

impl<P: Pipe> Dataset<P> {
    /// Folds the items of each partition into `zero` by `fold`, and what comes out of the partitions into `zero` by
    /// `merge`, in the order of the partitions.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let (sum, count) = cx.range(0..11).aggregate((0, 0), |(s, c), n| (s + n, c + 1), |a, b| (a.0 + b.0, a.1 + b.1))?;
    /// assert_eq!(sum / count, 5);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate<A: Row, F: Fn(A, P::Item) -> A + Code, G: Fn(A, A) -> A + Code>(
        &self,
        zero: A,
        fold: F,
        merge: G,
    ) -> Result<A> {
        self.background().aggregate(zero, fold, merge)?.wait()
    }
}

impl<P: Pipe> Background<'_, P> {
    /// [`Dataset::aggregate`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn aggregate<A: Row, F: Fn(A, P::Item) -> A + Code, G: Fn(A, A) -> A + Code>(
        &self,
        zero: A,
        fold: F,
        merge: G,
    ) -> Result<Job<A>> {
        const { assert!(size_of::<F>() == 0, "this closure captures something: fold it into the first value") }
        let op = Op::here("aggregate");
        self.prove_given(op, &zero)?;
        let action = FoldFrom { zero: zero.clone(), function: Plain(fold), op };
        self.begin_job(op, action, move |parts| {
            Ok(parts.in_order()?.into_iter().fold(zero, |a, b| op.call(|| merge(a, b))))
        })
    }
}
