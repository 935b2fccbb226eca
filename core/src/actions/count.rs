//! `count`: the number of items.

use super::job::{Background, Job, PartAction};
use crate::dataset::Dataset;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::ship::ship;
use crate::task::TaskContext;
use tryworks_base::{Op, Result};

struct Count;

ship!([] Count {});

impl<P: Pipe> PartAction<P> for Count {
    type Out = u64;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<u64> {
        let mut count = 0;
        drive(&mut cursor, task, &mut |_| {
            count += 1;
            CONTINUE
        })?;
        Ok(count)
    }
}

/// # Actions
impl<P: Pipe> Dataset<P> {
    /// The number of items.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..100).filter(|n| n % 3 == 0).count()?, 34);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count(&self) -> Result<u64> {
        self.background().count()?.wait()
    }
}

/// # Actions
impl<P: Pipe> Background<'_, P> {
    /// [`Dataset::count`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn count(&self) -> Result<Job<u64>> {
        self.begin_job(Op::here("count"), Count, |parts| {
            let mut count = 0;
            while let Some((_, part)) = parts.next()? {
                count += part;
            }
            Ok(count)
        })
    }
}
