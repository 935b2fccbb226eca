//! `save`: writes all items to a sink, each partition once, where tasks run or on the driver.

use super::job::{Background, Job, PartAction, Parts, known_as};
use crate::dataset::Dataset;
use crate::exchange::{hash_of, unless_failed};
use crate::pipe::{Pipe, drive};
use crate::runner::{Sought, Tie, guarded};
use crate::ship::ship;
use crate::sink::{AtDriver, FileLayout, Files, LayoutWriter, Place, Receipt, SaveRequest, Saver, Sink};
use crate::task::TaskContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::{Aspect, Error, Op, Result, codec};

struct Save<L, S> {
    layout: L,
    place: S,
    /// What it is, as it was before the place was prepared.
    aspects: Vec<Aspect>,
}

ship!([L: Serialize + DeserializeOwned, S: Serialize + DeserializeOwned] Save<L, S> {
    layout: given, place: given, aspects: none
});

impl<P: Pipe, L: FileLayout<P::Item>, S: Place> PartAction<P> for Save<L, S> {
    type Out = Vec<Receipt<S>>;

    fn aspects(&self) -> Vec<Aspect> {
        self.aspects.clone()
    }

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

    fn save_pair<L: FileLayout<P::Item>, S: Place>(&self, op: Op, layout: L, place: S) -> Result<Job<()>> {
        let proven = || {
            codec::prove_carried(&layout)?;
            codec::prove_carried(&place)?;
            let format = std::any::type_name::<L>().into();
            Ok(vec![aspect("place", place.title(), &place)?, aspect("format", format, &layout)?])
        };
        let aspects =
            guarded(|code| self.data.runner.guard(op, code), proven).map_err(|error: Error| error.at(op.site))?;
        let mut action = Save { layout, place, aspects };
        let all = 0..self.data.node.partitions;
        // Nobody else begins a job of this name until this one has begun.
        let sought = match &self.tie {
            Tie::Bound => None,
            tie => {
                let known = known_as::<P, _>(&*self.data.runner, tie, op, &action, all.len());
                Some(self.data.runner.seek(tie, &known).map_err(|error| error.at(op.site))?)
            }
        };
        let request = SaveRequest {
            op,
            partitions: self.data.partitions(),
            several_files: L::SEVERAL_FILES,
            extension: action.layout.extension(),
            saver: saver(&self.tie, sought.as_ref()),
            is_deterministic: !self.data.node.nondeterministic,
        };
        let is_new = action.place.prepare(&request)?;
        let mut begun = action.place.clone();
        let mut saving = Saving { place: action.place.clone(), armed: self.tie == Tie::Bound };
        let token = sought.as_ref().map(|sought| sought.token.clone()).unwrap_or_default();
        let parts = self.data.begin_tied(op, action, all, self.tie.clone(), token);
        if parts.is_err() && is_new {
            begun.abandon();
        }
        let parts = parts?;
        let is_bound = self.tie == Tie::Bound;
        Ok(Job::new(parts.control.clone(), move || {
            let mut finished = saving.collect(&parts);
            // One that was cut off for a while may find that the job was collected meanwhile.
            if !is_bound && finished.is_err() && saving.place.is_finished() {
                finished = Ok(());
            }
            saving.armed = finished.is_err() && (is_bound || parts.control.has_failed());
            if finished.is_err() && !saving.armed {
                // What is saved is whole, or is going to be: somebody may finish it where this program could not.
                parts.control.keep();
            }
            finished
        }))
    }
}

/// One thing that tells a save from others: what people are shown of it, and its bytes.
fn aspect<T: Serialize>(what: &str, value: String, of: &T) -> Result<Aspect> {
    let mut bytes = Vec::new();
    codec::encode(of, &mut bytes)?;
    Ok(Aspect { mark: hash_of(&bytes), ..Aspect::new(what, value) })
}

fn saver<'a>(tie: &'a Tie, sought: Option<&'a Sought>) -> Saver<'a> {
    match (tie, sought) {
        (_, None) => Saver::Bound,
        (Tie::Detached(name), Some(Sought { token, cluster, is_known: false, .. })) => {
            Saver::New { token, name, cluster }
        }
        (_, Some(Sought { token, .. })) => Saver::Known { token },
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
