//! `save`: all items into a sink, each partition once.

use super::job::{Background, Job, PartAction};
use crate::dataset::Dataset;
use crate::error::Result;
use crate::exchange::unless_failed;
use crate::pipe::{Pipe, drive};
use crate::ship::{Decoder, Encoder, Ship};
use crate::sink::{Sink, SinkWriter};
use crate::task::{Op, Task};

struct Save<S>(S);

impl<S: serde::Serialize + serde::de::DeserializeOwned> Ship for Save<S> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.value(&self.0)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Save(from.value()?))
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
    pub fn save<S: Sink<P::Item>>(&self, op: Op, sink: S) -> Result<Job<()>> {
        sink.prepare()?;
        let partitions = self.data.partitions();
        self.begin_job(op, Save(sink.clone()), move |parts| {
            let finished = parts.in_order().and_then(|_| sink.finish(partitions));
            finished.inspect_err(|_| sink.abandon())
        })
    }
}
