//! The map side of an exchange by key, without combining.

use super::hash::{Buckets, hash_of};
use super::write::{BucketWriter, unless_failed};
use crate::pipe::{Pipe, drive};
use crate::row::{Key, Row};
use crate::ship::{Ship, ship};
use crate::stage::{Output, StageCode};
use crate::task::TaskContext;
use tryworks_base::Result;

/// The map tasks of an exchange by key, without combining.
pub(crate) struct ScatterStage<P> {
    pub(crate) input: P,
    pub(crate) buckets: Buckets,
}

ship!([P: Ship] ScatterStage<P> { input: ship, buckets: value });

impl<K: Key, V: Row, P: Pipe<Item = (K, V)>> StageCode for ScatterStage<P> {
    fn run(&self, partition: u32, task: &TaskContext) -> Result<Output> {
        let mut cursor = self.input.open(partition, task)?;
        let mut writer = BucketWriter::new(self.buckets, task)?;
        let mut failed = None;
        drive(&mut cursor, task, &mut |row: (K, V)| {
            unless_failed(writer.push(self.buckets.of(hash_of(&row.0)), row), &mut failed)
        })?;
        failed.map_or(Ok(()), Err)?;
        writer.finish()
    }
}
