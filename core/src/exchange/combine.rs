//! The map side of an aggregation that combines before the shuffle: a table bounded by its number of keys.

use super::aggregate::Aggregate;
use super::batch::Batch;
use super::hash::{Buckets, hash_of};
use super::prefix::Prefix;
use super::table::Table;
use super::write::{BucketWriter, unless_failed};
use crate::error::Result;
use crate::memory::Reservation;
use crate::pipe::{Flow, Pipe, drive};
use crate::row::{Key, Row, RowSize};
use crate::ship::{Decoder, Encoder, Ship};
use crate::stage::{Output, StageCode};
use crate::task::{Op, Task};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The most keys that a map task keeps before it hands on what it has.
const COMBINE_KEYS: usize = 1 << 17;
/// After so many rows a map task asks whether combining is of use: it is not if the different keys are more than so many
/// percent of the rows. The first question is for keys that hardly ever come twice, since asking is dear.
const COMBINE_TRIALS: [(usize, usize); 2] = [(16_384, 97), (100_000, 80)];

/// The map tasks of an aggregation that combines before the shuffle.
pub(crate) struct CombineStage<P, A, K, V> {
    pub(crate) input: P,
    pub(crate) aggregate: A,
    pub(crate) buckets: Buckets,
    pub(crate) op: Op,
    /// The keys of the last partition that was done: room for the next one's table.
    room: AtomicUsize,
    /// What is folded of the outputs in this process, as long as one of them is there.
    prefix: Mutex<Weak<Prefix<K, V>>>,
}

impl<P, A, K, V> CombineStage<P, A, K, V> {
    pub(crate) fn new(input: P, aggregate: A, buckets: Buckets, op: Op) -> Self {
        CombineStage { input, aggregate, buckets, op, room: AtomicUsize::new(0), prefix: Mutex::new(Weak::new()) }
    }
}

impl<P, A: Aggregate<V, State = V, Out = V>, K: Key, V: Row> CombineStage<P, A, K, V> {
    /// Ends the output of a map task whose rows were all combined.
    #[inline(never)]
    fn finish(&self, partition: u32, writer: BucketWriter<(K, V)>, task: &Task) -> Result<Output> {
        writer.finish_by(|block| self.prefix(task).add(partition, block, &self.aggregate, &self.op, task))
    }

    fn prefix(&self, task: &Task) -> Arc<Prefix<K, V>> {
        let mut prefix = self.prefix.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prefix) = prefix.upgrade().filter(|prefix| !prefix.is_lost()) {
            return prefix;
        }
        let new = Arc::new(Prefix::new(self.buckets.count(), task));
        *prefix = Arc::downgrade(&new);
        new
    }
}

impl<P: Ship, A: Ship, K: Key, V: Row> Ship for CombineStage<P, A, K, V> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.input.encode(to)?;
        self.aggregate.encode(to)?;
        to.value(&(self.buckets, self.op))
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        let (input, aggregate) = (P::decode(from)?, A::decode(from)?);
        let (buckets, op) = from.value()?;
        Ok(CombineStage::new(input, aggregate, buckets, op))
    }
}

impl<K, V, P, A> StageCode for CombineStage<P, A, K, V>
where
    K: Key,
    V: Row,
    P: Pipe<Item = (K, V)>,
    A: Aggregate<V, State = V, Out = V>,
{
    fn run(&self, partition: u32, task: &Task) -> Result<Output> {
        let CombineStage { aggregate, buckets, op, .. } = self;
        let mut cursor = self.input.open(partition, task)?;
        aggregate.ready(op, task.place())?;
        let mut writer = BucketWriter::<(K, V)>::new(*buckets, task)?;
        let mut failed = None;
        let mut combine = Combine::new(aggregate, op, self.room.load(Relaxed), task);
        drive(&mut cursor, task, &mut |(key, value)| {
            if !combine.helps {
                let bucket = buckets.of(hash_of(&key));
                let out = aggregate.finish(aggregate.create(op, value));
                return unless_failed(writer.push(bucket, (key, out)), &mut failed);
            }
            combine.rows.push((key, value));
            if combine.rows.len() < COMBINE_BATCH {
                return Flow::Continue(());
            }
            unless_failed(combine.fold(*buckets, &mut writer), &mut failed)
        })?;
        failed.map_or(Ok(()), Err)?;
        let helped = combine.helps;
        combine.fold(*buckets, &mut writer)?;
        let helped = helped && combine.helps;
        self.room.store(combine.table.len(), Relaxed);
        combine.hand_on(*buckets, &mut writer)?;
        drop(combine);
        if helped { self.finish(partition, writer, task) } else { writer.finish() }
    }
}

/// Rows that are looked up at a time.
const COMBINE_BATCH: usize = 256;

/// The table of a map task. What is decided here depends on numbers of rows alone, since it decides in which order
/// values are folded.
struct Combine<'a, K, V, A: Aggregate<V>> {
    aggregate: &'a A,
    op: &'a Op,
    table: Table<K, A::State>,
    /// Whether it is of use: until the first look it is believed to be.
    helps: bool,
    /// Rows folded since the table was empty.
    folded: usize,
    /// Rows to be folded.
    rows: Vec<(K, V)>,
    batch: Batch,
    /// What the table takes is counted as it grows. It is bounded by its number of keys: handing it on earlier for want
    /// of memory would change the order of the fold.
    size: RowSize<(K, A::State)>,
    working: Reservation,
    /// The keys when it was counted last.
    counted: usize,
}

impl<'a, K: Key, V, A: Aggregate<V, Out: Row>> Combine<'a, K, V, A> {
    fn new(aggregate: &'a A, op: &'a Op, room: usize, task: &Task) -> Self {
        Combine {
            aggregate,
            op,
            table: Table::with_room(room),
            helps: true,
            folded: 0,
            rows: Vec::with_capacity(COMBINE_BATCH),
            batch: Batch::default(),
            size: RowSize::new(),
            working: task.host().memory().reservation(),
            counted: 0,
        }
    }

    /// Folds the rows that wait into the table, and hands the table on if it is full or of no use.
    fn fold(&mut self, buckets: Buckets, writer: &mut BucketWriter<(K, A::Out)>) -> Result<()> {
        let Combine { aggregate, op, table, rows, batch, .. } = self;
        let before = self.folded;
        self.folded += rows.len();
        batch.look_up(rows, table);
        batch.fold(rows.drain(..), table, *aggregate, op);
        if table.len() > self.counted + self.counted / 4
            && let Some(last) = table.entries().last()
        {
            self.counted = table.len();
            self.size.sample(last);
            let bytes = table.bytes() + self.size.heap_of(table.len());
            self.working.insist(bytes.saturating_sub(self.working.bytes()));
        }
        let full = table.len() >= COMBINE_KEYS;
        let (keys, folded) = (table.len(), self.folded);
        let useless = |(rows, percent): &(usize, usize)| {
            (before < *rows && folded >= *rows || full) && keys * 100 > folded * percent
        };
        self.helps = !COMBINE_TRIALS.iter().any(useless);
        if full || !self.helps { self.hand_on(buckets, writer) } else { Ok(()) }
    }

    fn hand_on(&mut self, buckets: Buckets, writer: &mut BucketWriter<(K, A::Out)>) -> Result<()> {
        self.folded = 0;
        self.table
            .drain()
            .try_for_each(|(key, state)| writer.push(buckets.of(hash_of(&key)), (key, self.aggregate.finish(state))))
    }
}
