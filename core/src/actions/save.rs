//! `save`: all items into a sink, each partition once, where tasks run or at the driver.

use super::job::{Background, Job, PartAction};
use crate::dataset::Dataset;
use crate::exchange::unless_failed;
use crate::pipe::{Flow, Pipe, drive};
use crate::runner::Tie;
use crate::ship::{Decoder, Encoder, Ship};
use crate::sink::{DriverSink, Sink, SinkWriter};
use crate::task::Task;
use tryworks_base::{Error, Op, Result, codec};

struct Save<S>(S);

impl<S: serde::Serialize + serde::de::DeserializeOwned> Ship for Save<S> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.given(&self.0)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Save(from.given()?))
    }
}

impl<P: Pipe, S: Sink<P::Item>> PartAction<P> for Save<S> {
    type Out = ();

    fn run(&self, mut cursor: P::Cursor, task: &Task) -> Result<()> {
        let mut writer = self.0.open(task.place())?;
        let mut failed = None;
        drive(&mut cursor, task, &mut |item| unless_failed(writer.write(item), &mut failed))?;
        failed.map_or(Ok(()), Err)?;
        task.check()?;
        writer.commit()
    }
}

impl<P: Pipe> Dataset<P> {
    /// Writes all items into `sink`: what the sinks' own methods, such as `save_as_text_file`, are made of.
    ///
    /// # Errors
    /// Why the job failed.
    pub fn save<S: Sink<P::Item>>(&self, op: Op, sink: S) -> Result<()> {
        self.background().save(op, sink)?.wait()
    }
}

impl<P: Pipe> Background<'_, P> {
    /// [`Dataset::save`] in the background. The output is complete when the job was waited for.
    ///
    /// # Errors
    /// If the plan has a mistake, or the sink cannot be prepared.
    pub fn save<S: Sink<P::Item>>(&self, op: Op, mut sink: S) -> Result<Job<()>> {
        codec::prove_carried(&sink).map_err(|error| error.at(op.site))?;
        let is_new = sink.prepare(self.data.partitions(), &self.tie)?;
        let (begun, dropped) = (sink.clone(), sink.clone());
        let mut undo = Undo { armed: self.tie == Tie::Bound, undo: move || dropped.abandon() };
        let job = self.begin_job(op, Save(sink.clone()), move |parts| {
            let finished = parts.in_order().and_then(|_| sink.finish());
            match &finished {
                Ok(()) => undo.arm(false),
                // A detached job may go on where this program does not see it.
                Err(Error::Cluster { .. } | Error::Stopped) => {}
                Err(_) => undo.arm(true),
            }
            finished
        });
        if job.is_err() && is_new {
            begun.abandon();
        }
        job
    }
}

/// Takes back what was saved when it is dropped: when the job failed, or was dropped before anybody waited for it. The
/// handle of a detached job may be dropped.
struct Undo<F: FnMut()> {
    armed: bool,
    undo: F,
}

impl<F: FnMut()> Undo<F> {
    /// Says whether it is to do so.
    fn arm(&mut self, armed: bool) {
        self.armed = armed;
    }
}

impl<F: FnMut()> Drop for Undo<F> {
    fn drop(&mut self) {
        if self.armed {
            (self.undo)();
        }
    }
}

/// How much more text of a partition is counted at a time.
const COUNTED: usize = 256 << 10;

struct Gather<S>(S);

impl<S: serde::Serialize + serde::de::DeserializeOwned> Ship for Gather<S> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.given(&self.0)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Gather(from.given()?))
    }
}

impl<P: Pipe, S: DriverSink<P::Item>> PartAction<P> for Gather<S> {
    type Out = String;

    fn run(&self, mut cursor: P::Cursor, task: &Task) -> Result<String> {
        let mut held = task.host().memory().reservation();
        let (mut text, mut counted) = (String::new(), 0);
        drive(&mut cursor, task, &mut |item| {
            self.0.text(item, &mut text);
            if text.capacity() > counted + COUNTED {
                held.insist((text.capacity() - counted) as u64);
                counted = text.capacity();
            }
            Flow::Continue(())
        })?;
        Ok(text)
    }

    fn prove(_: &mut String, _: bool) -> Result<()> {
        Ok(())
    }

    fn bytes(text: &String) -> u64 {
        text.len() as u64
    }
}

/// A dataset of which the driver saves what its tasks make.
pub struct ToDriver<'a, P: Pipe> {
    data: &'a Dataset<P>,
}

impl<P: Pipe> Dataset<P> {
    /// For sinks whose files are to be on this machine, whichever machines the tasks run on: each partition comes here
    /// when it is done, and is written and let go of before the next one. Without this, sinks write where tasks run.
    ///
    /// All of it counts as the result of the job: what is more than `max_result_bytes` ends the job with an error of
    /// that name. Parts of up to a mebibyte may come faster than they are written, and then wait in the memory of the
    /// driver; larger ones are fetched one at a time.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let dir = scratch.path().join("numbers");
    /// cx.range(0..100).to_driver().save_as_text_file(&dir)?;
    /// assert_eq!(cx.text_file(&dir).try_map(|line| Ok(line.parse::<u64>()?)).sum()?, 4950);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_driver(&self) -> ToDriver<'_, P> {
        ToDriver { data: self }
    }
}

impl<P: Pipe> ToDriver<'_, P> {
    /// Writes all items into `sink`, on this machine: what the sinks' own methods are made of.
    ///
    /// # Errors
    /// Why the job failed, or why it cannot be written here; then nothing of it stays.
    pub fn save<S: DriverSink<P::Item>>(&self, op: Op, mut sink: S) -> Result<()> {
        codec::prove_carried(&sink).map_err(|error| error.at(op.site))?;
        sink.prepare(self.data.partitions())?;
        let begun = sink.clone();
        let mut undo = Undo { armed: true, undo: move || begun.abandon() };
        let job = self.data.background().begin_job(op, Gather(sink.clone()), move |parts| {
            while let Some((partition, text)) = parts.next()? {
                sink.write(partition, &text)?;
            }
            sink.finish()?;
            undo.arm(false);
            Ok(())
        });
        job?.wait()
    }
}
