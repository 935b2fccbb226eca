//! `count_approx_distinct`: about how many distinct items there are, in little memory.

use super::job::{Background, Job, PartAction};
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::ship::ship;
use crate::sketch::{Sketch, registers};
use crate::task::TaskContext;
use std::hash::Hash;
use tryworks_base::{Aspect, Op, Result};

struct SketchItems {
    registers: u8,
    op: Op,
}

ship!([] SketchItems { registers: value, op: value });

impl<P: Pipe<Item: Hash>> PartAction<P> for SketchItems {
    type Out = Sketch;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Sketch> {
        let mut sketch = Sketch::new(self.registers)?;
        drive(&mut cursor, task, &mut |item| {
            self.op.call(|| sketch.add(&item));
            CONTINUE
        })?;
        Ok(sketch)
    }

    fn aspects(&self) -> Vec<Aspect> {
        vec![Aspect::new("number of registers", 1u32 << self.registers)]
    }
}

/// # Actions
impl<P: Pipe<Item: Hash>> Dataset<P> {
    /// About how many distinct items there are, by a HyperLogLog sketch: there is no shuffle, and each task needs a few
    /// kilobytes. `error` is the relative standard error, such as 0.01. The estimate is the same in every run, however the
    /// items are divided.
    ///
    /// # Errors
    /// Why the job failed; an error if `error` is not from 0.00072 to 0.26.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let about = cx.range(0..100_000).map(|n| n % 5_000).count_approx_distinct(0.01)?;
    /// assert!((4_900..5_100).contains(&about));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_approx_distinct(&self, error: f64) -> Result<u64> {
        self.background().sketched(Op::here("count_approx_distinct"), error)?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Hash>> Background<'_, P> {
    /// [`Dataset::count_approx_distinct`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn count_approx_distinct(&self, error: f64) -> Result<Job<u64>> {
        self.sketched(Op::here("count_approx_distinct"), error)
    }

    fn sketched(&self, op: Op, error: f64) -> Result<Job<u64>> {
        let registers = registers(&op, error)?;
        self.begin_job(op, SketchItems { registers, op }, move |parts| {
            let mut all = Sketch::new(registers)?;
            for part in parts.in_order()? {
                all.merge(&part)?;
            }
            Ok(all.estimate())
        })
    }
}
