//! `take`, `first` and `is_empty`: the first items, read from few partitions.

use super::counted::Counted;
use super::job::{Background, Job, PartAction, bytes_of};
use crate::dataset::Dataset;
use crate::heap::heap_bytes;
use crate::pipe::{CONTINUE, Pipe, STOP, drive};
use crate::runner::{JobControl, Tie, guarded};
use crate::ship::ship;
use crate::stage::ResultValue;
use crate::task::TaskContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tryworks_base::codec::prove_rows;
use tryworks_base::lock::Lock;
use tryworks_base::{Aspect, Error, Op, Progress, Result};

struct Take(usize);

ship!([] Take { 0: value });

impl<P: Pipe<Item: Serialize + DeserializeOwned>> PartAction<P> for Take {
    type Out = Vec<P::Item>;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Vec<P::Item>> {
        let (mut items, mut counted) = (Vec::new(), Counted::new(task));
        drive(&mut cursor, task, &mut |item| {
            items.push(item);
            counted.count(&items, heap_bytes);
            if items.len() == self.0 { STOP } else { CONTINUE }
        })?;
        Ok(items)
    }

    fn aspects(&self) -> Vec<Aspect> {
        vec![Aspect::new("number of items", self.0)]
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
    /// The first `n` items, in order. `take` reads the first partition. While it has too few items, it reads more
    /// partitions, four times as many each time.
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
        self.background().taken(Op::here("take"), n)?.wait()
    }

    /// The first item; `None` if there is no item.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(7..1_000_000).first()?, Some(7));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn first(&self) -> Result<Option<P::Item>> {
        self.background().first_taken(Op::here("first"))?.wait()
    }

    /// Whether there is no item. It reads partitions as [`first`](Dataset::first) does.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let numbers = cx.range(0..1_000_000);
    /// assert_eq!((numbers.is_empty()?, numbers.filter(|n| *n > 1_000_000).is_empty()?), (false, true));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn is_empty(&self) -> Result<bool> {
        self.background().none_taken(Op::here("is_empty"))?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Background<'_, P> {
    /// [`Dataset::take`] in the background. The job reads the first partition. If `take` needs more partitions, they
    /// are read while the program waits for the job. A [detached](Background::detached) job reads up to `n` items of
    /// every partition.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn take(&self, n: usize) -> Result<Job<Vec<P::Item>>> {
        self.taken(Op::here("take"), n)
    }

    /// [`Dataset::first`] in the background, as [`take`](Background::take) runs.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn first(&self) -> Result<Job<Option<P::Item>>> {
        self.first_taken(Op::here("first"))
    }

    /// [`Dataset::is_empty`] in the background, as [`take`](Background::take) runs.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn is_empty(&self) -> Result<Job<bool>> {
        self.none_taken(Op::here("is_empty"))
    }

    fn none_taken(&self, op: Op) -> Result<Job<bool>> {
        Ok(self.taken(op, 1)?.map(|items| Ok(items.is_empty())))
    }

    fn first_taken(&self, op: Op) -> Result<Job<Option<P::Item>>> {
        Ok(self.taken(op, 1)?.map(|mut items| Ok(items.pop())))
    }

    fn taken(&self, op: Op, n: usize) -> Result<Job<Vec<P::Item>>> {
        let (data, all) = (self.data.clone(), self.data.node.partitions);
        // No job can follow a job that goes on without the program.
        let mut width = if self.tie == Tie::Bound { 1 } else { all };
        // With `n == 0` nothing runs, but a mistake in the plan is still an error.
        let mut to = if n == 0 { 0 } else { width.min(all) };
        let mut parts = data.begin_tied(op, Take(n), 0..to, self.tie.clone(), String::new())?;
        let latest = Arc::new(Latest::new(parts.control.clone()));
        Ok(Job::new(latest.clone(), move || {
            let mut items = Vec::new();
            loop {
                items.extend(guarded(|code| parts.control.guard(code), || parts.in_order())?.into_iter().flatten());
                if items.len() >= n || to == all {
                    items.truncate(n);
                    return Ok(items);
                }
                // Jobs may end before they see that they were cancelled.
                if latest.cancelled.load(SeqCst) {
                    return Err(Error::Cancelled);
                }
                let from = to;
                width = width.saturating_mul(4);
                to = from.saturating_add(width).min(all);
                parts = data.begin(op, Take(n - items.len()), from..to)?;
                latest.follow(parts.control.clone());
            }
        }))
    }
}

/// The latest of several jobs that follow one another. Each job has its own guard, because no job may begin under a
/// guard.
pub(super) struct Latest {
    job: Lock<Arc<dyn JobControl>>,
    pub(super) cancelled: AtomicBool,
}

impl Latest {
    pub(super) fn new(job: Arc<dyn JobControl>) -> Self {
        Latest { job: Lock::new(job), cancelled: AtomicBool::new(false) }
    }

    fn job(&self) -> Arc<dyn JobControl> {
        self.job.lock().clone()
    }

    /// Sets the next job. `cancel` stores its flag before it reads the job, and `follow` stores the job before it reads
    /// the flag. So at least one of them cancels the new job.
    pub(super) fn follow(&self, job: Arc<dyn JobControl>) {
        let before = std::mem::replace(&mut *self.job.lock(), job.clone());
        drop(before);
        if self.cancelled.load(SeqCst) {
            job.cancel();
        }
    }
}

impl JobControl for Latest {
    fn id(&self) -> u64 {
        self.job().id()
    }

    fn next(&self) -> Result<Option<(u32, Box<dyn ResultValue>)>> {
        self.job().next()
    }

    fn cancel(&self) {
        self.cancelled.store(true, SeqCst);
        self.job().cancel();
    }

    fn abandon(&self) {
        self.job().abandon();
    }

    fn progress(&self) -> Progress {
        self.job().progress()
    }
}
