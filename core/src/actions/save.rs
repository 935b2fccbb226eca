//! `save`: writes all items to a sink, each partition once, where tasks run or on the driver.

use super::job::{Background, Job, PartAction, Parts};
use crate::dataset::Dataset;
use crate::exchange::unless_failed;
use crate::pipe::{Pipe, drive};
use crate::runner::Tie;
use crate::ship::ship;
use crate::sink::{AtDriver, FileLayout, Files, LayoutWriter, Place, Receipt, SaveRequest, Sink};
use crate::task::TaskContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::{Error, Op, Result, codec};

struct Save<L, S> {
    layout: L,
    place: S,
}

ship!([L: Serialize + DeserializeOwned, S: Serialize + DeserializeOwned] Save<L, S> { layout: given, place: given });

impl<P: Pipe, L: FileLayout<P::Item>, S: Place> PartAction<P> for Save<L, S> {
    type Out = Vec<Receipt<S>>;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Self::Out> {
        let mut writer = self.layout.open(Files::new(self.place.clone(), task.clone()))?;
        let mut failed = None;
        drive(&mut cursor, task, &mut |item| unless_failed(writer.write(item), &mut failed))?;
        failed.map_or(Ok(()), Err)?;
        task.check()?;
        writer.end()
    }
}

/// # Actions
impl<P: Pipe> Dataset<P> {
    /// Writes all items to `sink`, such as `text(dir)`. A partition appears whole or not at all.
    ///
    /// # Errors
    /// Why the job failed. Then nothing that it wrote remains.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let dir = scratch.path().join("numbers");
    /// cx.range(0..100).save(text(&dir))?;
    /// assert_eq!(cx.read(text(&dir)).try_map(|line| Ok(line.parse::<u64>()?)).sum()?, 4950);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn save<S: Sink<P::Item>>(&self, sink: S) -> Result<()> {
        self.background().save(sink)?.wait()
    }

    /// Lets the driver write the files on its own machine, wherever tasks run. Each finished partition comes to the
    /// driver, which writes and drops it before it takes the next one. Without `to_driver`, sinks write where tasks
    /// run.
    ///
    /// All bytes count as results of the job: a job with more than `max_result_bytes` fails with an error that names
    /// this limit. Parts of up to a mebibyte may arrive faster than the driver writes them; they then wait in its
    /// memory. The driver fetches larger parts one at a time.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let dir = scratch.path().join("numbers");
    /// cx.range(0..100).to_driver().save(text(&dir))?;
    /// assert_eq!(cx.text_file(&dir).try_map(|line| Ok(line.parse::<u64>()?)).sum()?, 4950);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_driver(&self) -> ToDriver<'_, P> {
        ToDriver { data: self }
    }
}

/// # Actions
impl<P: Pipe> Background<'_, P> {
    /// [`Dataset::save`] in the background. The output is complete when [`wait`](Job::wait) returns.
    ///
    /// # Errors
    /// If the plan has a mistake, or the place cannot be prepared.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let dir = scratch.path().join("numbers");
    /// let job = cx.range(0..100).background().save(text(&dir))?;
    /// job.wait()?;
    /// assert_eq!(cx.text_file(&dir).count()?, 100);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn save<S: Sink<P::Item>>(&self, sink: S) -> Result<Job<()>> {
        let (layout, place) = sink.into_pair()?;
        self.save_pair(Op::here("save"), layout, place)
    }

    fn save_pair<L: FileLayout<P::Item>, S: Place>(&self, op: Op, layout: L, mut place: S) -> Result<Job<()>> {
        codec::prove_carried(&layout).map_err(|error| error.at(op.site))?;
        codec::prove_carried(&place).map_err(|error| error.at(op.site))?;
        let request = SaveRequest {
            op,
            partitions: self.data.partitions(),
            several_files: L::SEVERAL_FILES,
            extension: layout.extension(),
            tie: &self.tie,
            is_deterministic: !self.data.node.nondeterministic,
        };
        let is_new = place.prepare(&request)?;
        let mut begun = place.clone();
        let action = Save { layout, place: place.clone() };
        let mut saving = Saving { place, armed: self.tie == Tie::Bound };
        let job = self.begin_job(op, action, move |parts| {
            let finished = saving.collect(&parts);
            match &finished {
                Ok(()) => saving.arm(false),
                // A detached job may go on without this program.
                Err(Error::Cluster { .. } | Error::Stopped) => {}
                Err(_) => saving.arm(true),
            }
            finished
        });
        if job.is_err() && is_new {
            begun.abandon();
        }
        job
    }
}

/// A place that a job writes to. Dropping it while it is armed removes what was saved. It is armed when the job has
/// failed, and while the program has not waited for the job. The handle of a detached job may be dropped, so it is not
/// armed.
struct Saving<S: Place> {
    place: S,
    armed: bool,
}

impl<S: Place> Saving<S> {
    fn arm(&mut self, armed: bool) {
        self.armed = armed;
    }

    fn collect(&mut self, parts: &Parts<Vec<Receipt<S>>>) -> Result<()> {
        while let Some((partition, receipts)) = parts.next()? {
            self.place.accept(partition, receipts)?;
        }
        self.place.finish()
    }
}

impl<S: Place> Drop for Saving<S> {
    fn drop(&mut self) {
        if self.armed {
            self.place.abandon();
        }
    }
}

/// A dataset that the driver saves; see [`Dataset::to_driver`].
pub struct ToDriver<'a, P: Pipe> {
    data: &'a Dataset<P>,
}

/// # Actions
impl<P: Pipe> ToDriver<'_, P> {
    /// Writes all items to `sink`, on the driver's machine.
    ///
    /// # Errors
    /// Why the job failed, or why the driver cannot write. Then nothing that it wrote remains.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// cx.range(0..3).to_driver().save(text(scratch.path().join("numbers")))?;
    /// assert!(scratch.path().join("numbers/_SUCCESS").exists());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn save<S: Sink<P::Item>>(&self, sink: S) -> Result<()> {
        let (layout, place) = sink.into_pair()?;
        self.data.background().save_pair(Op::here("save"), layout, AtDriver(place))?.wait()
    }
}
