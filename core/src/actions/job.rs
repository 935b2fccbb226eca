//! Jobs: the parts that all actions share, and the handle of a job in the background.

use crate::call::{Env, Given};
use crate::dataset::Dataset;
use crate::exchange::hash_of;
use crate::heap::heap_bytes;
use crate::pipe::Pipe;
use crate::row::RowSize;
use crate::runner::{JobControl, JobRequest, Runner, Tie, guarded};
use crate::ship::{Ship, ship};
use crate::stage::{Encoded, Made, Output, StageCode};
use crate::task::TaskContext;
use crate::with::With;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use tryworks_base::{Action, Aspect, Error, Op, Progress, Result, codec};

/// What an action does with one partition. The result of an action depends on the parts and their partitions alone, so
/// `run` must give the same part whenever and wherever it runs.
pub(crate) trait PartAction<P: Pipe>: Ship + Send + Sync + 'static {
    type Out: Serialize + DeserializeOwned + Send + 'static;

    fn run(&self, cursor: P::Cursor, task: &TaskContext) -> Result<Self::Out>;

    /// Checks whether the codec carries a part.
    fn prove(out: &mut Self::Out, check: bool) -> Result<()> {
        codec::prove_part(out, check)
    }

    /// What tells it from the same method with other arguments, beside the type of its parts and the number of partitions.
    fn aspects(&self) -> Vec<Aspect> {
        Vec::new()
    }

    /// The size of a part, which counts towards the limit of a job's results.
    fn bytes(out: &Self::Out) -> u64 {
        size_of::<Self::Out>() as u64 + heap_bytes(out)
    }
}

/// The last stage of a job.
struct ActionStage<P, A> {
    input: P,
    action: A,
}

ship!([P: Ship, A: Ship] ActionStage<P, A> { input: ship, action: ship });

impl<P: Pipe, A: PartAction<P>> StageCode for ActionStage<P, A> {
    fn run(&self, partition: u32, task: &TaskContext) -> Result<Output> {
        let mut out = self.action.run(self.input.open(partition, task)?, task)?;
        A::prove(&mut out, task.checks_rows())?;
        let bytes = A::bytes(&out);
        Ok(Output { made: Made::Result(Box::new(out)), rows: 0, checksum: 0, bytes, bucket_bytes: Vec::new() })
    }
}

/// The parts of an action's result, as they arrive.
pub(crate) struct Parts<R> {
    pub(super) control: Arc<dyn JobControl>,
    op: Op,
    part: std::marker::PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned + Send + 'static> Parts<R> {
    /// The next part, with the number of its partition, in the order in which they are ready.
    pub(crate) fn next(&self) -> Result<Option<(u32, R)>> {
        let Some((partition, value)) = self.control.next()? else { return Ok(None) };
        let value: Box<dyn Any> = value;
        match value.downcast::<R>() {
            Ok(part) => Ok(Some((partition, *part))),
            // A part from another process arrives as bytes.
            Err(other) => match other.downcast::<Encoded>() {
                Ok(encoded) => {
                    let (part, _) = codec::decode(&encoded.0).map_err(|error| error.at(self.op.site))?;
                    Ok(Some((partition, part)))
                }
                Err(_) => Err(Error::Bug("a result of another type".into())),
            },
        }
    }

    /// All parts in the order of their partitions.
    pub(crate) fn in_order(&self) -> Result<Vec<R>> {
        let mut parts = Vec::new();
        while let Some(part) = self.next()? {
            parts.push(part);
        }
        parts.sort_unstable_by_key(|(partition, _)| *partition);
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }
}

/// An action as a detached job of it is compared.
pub(super) fn known_as<P: Pipe, A: PartAction<P>>(
    runner: &dyn Runner,
    tie: &Tie,
    op: Op,
    action: &A,
    partitions: usize,
) -> Action {
    let mut aspects = action.aspects();
    // Another program may have another type of the same name.
    let shape = || guarded(|code| runner.guard(op, code), || Ok(codec::shape_of::<A::Out>()));
    let mark = if *tie == Tie::Bound { 0 } else { shape().map_or(0, |names| hash_of(&names)) };
    aspects.push(Aspect { mark, ..Aspect::new("type of results", std::any::type_name::<A::Out>()) });
    aspects.push(Aspect::new("number of partitions", partitions));
    Action { name: op.name.into(), aspects }
}

fn submit(runner: &dyn Runner, job: JobRequest) -> Result<Arc<dyn JobControl>> {
    let site = job.op.site;
    runner.submit(job).map_err(|error| error.at(site))
}

/// # Jobs in the background
impl<P: Pipe> Dataset<P> {
    /// Begins a job over some partitions.
    pub(crate) fn begin<A: PartAction<P>>(&self, op: Op, action: A, partitions: Range<u32>) -> Result<Parts<A::Out>> {
        self.begin_tied(op, action, partitions, Tie::Bound, String::new())
    }

    pub(super) fn begin_tied<A: PartAction<P>>(
        &self,
        op: Op,
        action: A,
        partitions: Range<u32>,
        tie: Tie,
        token: String,
    ) -> Result<Parts<A::Out>> {
        self.misplaced(op).map_or(Ok(()), Err)?;
        let known = known_as::<P, A>(&*self.runner, &tie, op, &action, partitions.len());
        let stage = Arc::new(ActionStage { input: self.pipe.clone(), action });
        let node = self.node.clone();
        let control = submit(&*self.runner, JobRequest { node, stage, partitions, op, tie, action: known, token })?;
        Ok(Parts { control, op, part: std::marker::PhantomData })
    }

    /// The actions as jobs that run while the program goes on. Each returns a [`Job`], which you can wait for, watch
    /// and cancel.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let job = cx.range(0..1000).background().count()?;
    /// assert_eq!(job.wait()?, 1000);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn background(&self) -> Background<'_, P> {
        Background { data: self, tie: Tie::Bound, env: () }
    }
}

/// # Jobs in the background
impl<P: Pipe, E: Env> With<P, E> {
    /// The actions that take a function, as jobs that run while the program goes on. See
    /// [`Dataset::background`].
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let job = cx.range(0..4).with(10).background().take_ordered_by(1, |by, n| by - n)?;
    /// assert_eq!(job.wait()?, [3]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn background(&self) -> Background<'_, P, E> {
        Background { env: self.env.clone(), data: &self.data, tie: Tie::Bound }
    }
}

/// The actions of a dataset as jobs that run in the background. If [`with`](Dataset::with) was called before, their
/// functions get its value.
pub struct Background<'a, P: Pipe, E = ()> {
    pub(crate) data: &'a Dataset<P>,
    pub(crate) tie: Tie,
    pub(crate) env: E,
}

impl<P: Pipe, E> Background<'_, P, E> {
    /// The actions of another dataset, which is made from this one and is tied in the same way.
    pub(super) fn of<'a, Q: Pipe>(&self, data: &'a Dataset<Q>) -> Background<'a, Q> {
        Background { data, tie: self.tie.clone(), env: () }
    }
}

impl<P: Pipe, E: Env> Background<'_, P, E> {
    pub(crate) fn given<F>(&self, function: F) -> Given<E, F> {
        Given { env: self.env.clone(), function }
    }
}

/// # Jobs in the background
impl<P: Pipe, E> Background<'_, P, E> {
    /// Runs the action as a job of the cluster under a name. The job goes on when this program ends, however it ends.
    /// Asking for the same action under the same name returns the existing job, running or ended, in this run of the
    /// program and in later ones. [`wait`](Job::wait) returns its result and frees the name. Asking for another action,
    /// another type or number of results, or another place to save to is an error that says in what they differ. So is
    /// a type of the same name with other fields.
    ///
    /// `tryworks job NAME` shows the job, and `tryworks cancel NAME` stops it. The cluster forgets a job after 7 days
    /// if no program collects its result. A name begins with a letter or a digit, and is not just a number.
    ///
    /// On a local context the action is an error, because its threads end with the program.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let job = cx.range(0..1000).background().detached("nightly").count();
    /// assert!(job.err().unwrap().to_string().contains("cluster"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn detached(mut self, name: impl Into<String>) -> Self {
        self.tie = Tie::Detached(name.into());
        self
    }

    /// Returns the handle of an existing detached job, by the number that `tryworks jobs` shows. The action has to be
    /// the same, as for [`detached`](Background::detached); it does not start again.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let job = cx.range(0..1000).background().attach(17).count();
    /// assert!(job.err().unwrap().to_string().contains("cluster"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn attach(mut self, job: u64) -> Self {
        self.tie = Tie::Attached(job);
        self
    }

    /// Checks whether the codec carries a value that the program gives to the tasks of an action.
    pub(crate) fn prove_given<T: Serialize + DeserializeOwned>(&self, op: Op, value: &T) -> Result<()> {
        self.data.prove_given(op, value)
    }

    /// Begins a job over all partitions. `finish` makes the result from the parts.
    pub(crate) fn begin_job<A: PartAction<P>, R>(
        &self,
        op: Op,
        action: A,
        finish: impl FnOnce(Parts<A::Out>) -> Result<R> + Send + 'static,
    ) -> Result<Job<R>> {
        let parts = self.data.begin_tied(op, action, 0..self.data.node.partitions, self.tie.clone(), String::new())?;
        Ok(Job::new(parts.control.clone(), move || finish(parts)))
    }
}

/// The handle of a job. If the handle is dropped before [`wait`](Job::wait), the job is cancelled, unless it is
/// [detached](Background::detached).
#[must_use = "a job is cancelled when its handle is dropped: wait for it"]
pub struct Job<R> {
    control: Arc<dyn JobControl>,
    finish: Option<Finish<R>>,
}

type Finish<R> = Box<dyn FnOnce() -> Result<R> + Send>;

impl<R> Job<R> {
    pub(super) fn new(control: Arc<dyn JobControl>, finish: impl FnOnce() -> Result<R> + Send + 'static) -> Self {
        Job { control, finish: Some(Box::new(finish)) }
    }

    /// The same job with another result.
    pub(super) fn map<S>(mut self, to: impl FnOnce(R) -> Result<S> + Send + 'static) -> Job<S>
    where
        R: 'static,
    {
        let finish = self.finish.take();
        let waited_twice = || Error::Bug("a job was waited for twice".into());
        Job::new(self.control.clone(), move || to(finish.ok_or_else(waited_twice)?()?))
    }

    /// The number of the job in its context.
    pub fn id(&self) -> u64 {
        self.control.id()
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// Why the job failed.
    pub fn wait(mut self) -> Result<R> {
        let finish = self.finish.take().ok_or_else(|| Error::Bug("a job was waited for twice".into()))?;
        guarded(|code| self.control.guard(code), finish)
    }

    /// Stops the job: waiting tasks are dropped, and running tasks stop at their next batch, or among the items that
    /// a single item expands to. [`wait`](Job::wait) then returns [`Error::Cancelled`], unless the job had ended before.
    /// Nothing interrupts a call of your own code: on threads, one that never returns keeps its thread.
    pub fn cancel(&self) {
        self.control.cancel();
    }

    /// How far the job is.
    pub fn progress(&self) -> Progress {
        self.control.progress()
    }
}

impl<R> Drop for Job<R> {
    fn drop(&mut self) {
        if self.finish.is_some() {
            self.control.abandon();
        }
    }
}

/// The bytes of a vector of rows, from a few samples.
pub(crate) fn bytes_of<T: Serialize>(rows: &[T]) -> u64 {
    let mut size = RowSize::new();
    rows.iter().step_by(rows.len() / 16 + 1).for_each(|row| size.sample(row));
    size.of(rows.len())
}
