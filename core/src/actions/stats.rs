//! `stats`, `mean`, `variance` and `stdev`: statistics of numbers, in one pass.

use super::job::{Background, Job, PartAction};
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::ship::ship;
use crate::stats::{Number, Stats};
use crate::task::TaskContext;
use tryworks_base::{Op, Result};

struct Measure {
    op: Op,
}

ship!([] Measure { op: value });

impl<P: Pipe<Item: Number>> PartAction<P> for Measure {
    type Out = Stats;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Stats> {
        let mut stats = Stats::default();
        drive(&mut cursor, task, &mut |number| {
            stats.add(self.op.call(|| number.to_f64()));
            CONTINUE
        })?;
        Ok(stats)
    }
}

/// # Actions
impl<P: Pipe<Item: Number>> Dataset<P> {
    /// Count, sum, mean, variance, least and greatest of the numbers, in one pass. See [`Stats`] for what NaN and
    /// infinities do.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let stats = cx.range(1..5).stats()?;
    /// assert_eq!((stats.count(), stats.sum(), stats.max()), (4, 10.0, Some(4.0)));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn stats(&self) -> Result<Stats> {
        self.background().measured(Op::here("stats"))?.wait()
    }

    /// The mean of the numbers; `None` if there are none.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(1..5).mean()?, Some(2.5));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn mean(&self) -> Result<Option<f64>> {
        Ok(self.background().measured(Op::here("mean"))?.wait()?.mean())
    }

    /// The mean of the squares of the differences from the mean; `None` if there are no numbers. [`stats`](Dataset::stats)
    /// has the variance with Bessel's correction.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(1..5).variance()?, Some(1.25));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn variance(&self) -> Result<Option<f64>> {
        Ok(self.background().measured(Op::here("variance"))?.wait()?.variance())
    }

    /// The square root of the [`variance`](Dataset::variance); `None` if there are no numbers.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.parallelize(vec![1.0, 5.0]).stdev()?, Some(2.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn stdev(&self) -> Result<Option<f64>> {
        Ok(self.background().measured(Op::here("stdev"))?.wait()?.stdev())
    }
}

/// # Actions
impl<P: Pipe<Item: Number>> Background<'_, P> {
    /// [`Dataset::stats`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn stats(&self) -> Result<Job<Stats>> {
        self.measured(Op::here("stats"))
    }

    /// [`Dataset::mean`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn mean(&self) -> Result<Job<Option<f64>>> {
        Ok(self.measured(Op::here("mean"))?.map(|stats| Ok(stats.mean())))
    }

    /// [`Dataset::variance`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn variance(&self) -> Result<Job<Option<f64>>> {
        Ok(self.measured(Op::here("variance"))?.map(|stats| Ok(stats.variance())))
    }

    /// [`Dataset::stdev`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn stdev(&self) -> Result<Job<Option<f64>>> {
        Ok(self.measured(Op::here("stdev"))?.map(|stats| Ok(stats.stdev())))
    }

    fn measured(&self, op: Op) -> Result<Job<Stats>> {
        self.begin_job(op, Measure { op }, |parts| {
            let mut stats = Stats::default();
            for part in parts.in_order()? {
                stats.merge(&part);
            }
            Ok(stats)
        })
    }
}
