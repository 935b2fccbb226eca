//! The map side of an aggregation that combines before the shuffle: a table bounded by its number of keys, and by the bytes
//! that they and their states point to.

use super::aggregate::Aggregate;
use super::batch::{Batch, TOGETHER};
use super::hash::{Buckets, hash_of};
use super::keep::Keep;
use super::running_fold::{Run, RunningFold};
use super::table::Table;
use super::write::{BucketWriter, Counts, LOOK, unless_failed};
use crate::heap::heap_bytes;
use crate::host::{BlockValue, MadeBlock};
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::row::{Key, Row, RowSize};
use crate::ship::{Ship, ship};
use crate::stage::{Output, StageCode};
use crate::task::TaskContext;
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use tryworks_base::lock::Lock;
use tryworks_base::memory::Reservation;
use tryworks_base::{Op, Result, codec};

/// The most keys that a map task keeps before it hands on what it has.
const COMBINE_KEYS: usize = 1 << 17;
/// The most bytes that the keys and states of a map task point to before it hands on what it has. They are counted by the
/// data alone: by what is in memory, the same job would fold in another order elsewhere.
const COMBINE_BYTES: u64 = 16 << 20;
/// So many entries are looked at again to see whether states have grown.
const LOOKED_AT: usize = 64;
/// `(rows, percent)`: after `rows` rows, stop combining if distinct keys exceed `percent` of them. The first, stricter test
/// catches keys that almost never repeat; combining these until the second test would be expensive.
const COMBINE_TRIALS: [(usize, usize); 2] = [(16_384, 97), (100_000, 80)];

/// The map tasks of an aggregation that combines before the shuffle.
pub(crate) struct CombineStage<M: Keep<K>, P, A, K, V> {
    input: P,
    aggregate: A,
    buckets: Buckets,
    op: Op,
    /// The keys of the last partition that was done: room for the next one's table.
    room: AtomicUsize,
    /// What is folded of the outputs in this process, as long as one of them is there.
    running: Lock<Weak<RunningFold<M, K, V>>>,
}

impl<M: Keep<K>, P, A, K: Key, V: Row> CombineStage<M, P, A, K, V> {
    pub(crate) fn new(input: P, aggregate: A, buckets: Buckets, op: Op) -> Self {
        CombineStage { input, aggregate, buckets, op, room: AtomicUsize::new(0), running: Lock::new(Weak::new()) }
    }

    fn running_fold(&self, task: &TaskContext) -> Arc<RunningFold<M, K, V>> {
        let mut shared = self.running.lock();
        let before = shared.upgrade();
        let running = before.clone().filter(|running| !running.is_lost()).unwrap_or_else(|| {
            let new = Arc::new(RunningFold::new(self.buckets, task));
            *shared = Arc::downgrade(&new);
            new
        });
        // The last handle of one that is lost is dropped here, with the rows in it.
        drop(shared);
        drop(before);
        running
    }
}

ship!([M: Keep<K>, P: Ship, A: Ship, K: Key, V: Row] CombineStage<M, P, A, K, V> {
    input: ship, aggregate: ship, buckets: value, op: value, room: none, running: none
});

impl<M, K, V, P, A> StageCode for CombineStage<M, P, A, K, V>
where
    M: Keep<K>,
    K: Key,
    V: Row,
    P: Pipe<Item = (K, V)>,
    A: Aggregate<V, State = V, Out = V>,
{
    fn run(&self, partition: u32, task: &TaskContext) -> Result<Output> {
        let CombineStage { aggregate, buckets, op, .. } = self;
        let mut cursor = self.input.open(partition, task)?;
        aggregate.ready(op, task.place())?;
        let mut failed = None;
        let running = self.running_fold(task);
        let room = running.spare().unwrap_or_else(|| Vec::with_capacity(self.room.load(Relaxed)));
        let mut combine = Combine::<M, K, V, A>::new(aggregate, op, *buckets, room, task)?;
        drive(&mut cursor, task, &mut |(key, value)| {
            if !combine.helps {
                return unless_failed(combine.pass_on(key, value), &mut failed);
            }
            combine.rows.push((M::keep(key), value));
            if combine.rows.len() < TOGETHER {
                return CONTINUE;
            }
            unless_failed(combine.fold(), &mut failed)
        })?;
        failed.map_or(Ok(()), Err)?;
        combine.fold()?;
        self.room.store(combine.table.len(), Relaxed);
        combine.hand_on(0)?;
        combine.finish(|runs| running.add(partition, runs, aggregate, op, task))
    }
}

/// What the entries of a table point to, in bytes, as it follows from the data.
#[derive(Default)]
struct Weight {
    bytes: u64,
    /// So many entries were weighed when they were new.
    entries: usize,
    /// Rows folded when it was last looked whether states have grown.
    rows: usize,
}

impl Weight {
    /// Weighs what is new since the last time. Once twice as many rows are folded, some of what was there is weighed again:
    /// states may grow, and those of frequent keys, which come early, grow most.
    fn update<K: Serialize, S: Serialize>(&mut self, entries: &[(K, S)], folded: usize) {
        if !std::mem::needs_drop::<(K, S)>() {
            return;
        }
        let new = &entries[self.entries..];
        self.bytes += new.iter().map(heap_bytes).sum::<u64>();
        self.entries = entries.len();
        if folded >= 2 * self.rows {
            self.rows = folded;
            let early = entries.iter().take(LOOKED_AT / 2);
            let early: u64 = early.map(heap_bytes).sum();
            let step = entries.len().div_ceil(LOOKED_AT / 2).max(1);
            let (mut some, mut count) = (0, 0);
            for entry in entries.iter().skip(LOOKED_AT / 2).step_by(step) {
                some += heap_bytes(entry);
                count += 1;
            }
            let others = entries.len().saturating_sub(LOOKED_AT / 2) as u64;
            let now = early + (some * others).checked_div(count).unwrap_or(0);
            self.bytes = self.bytes.max(now);
        }
    }
}

/// The table of a map task. What is decided here depends on the rows alone, since it decides in which order values are
/// folded.
struct Combine<'a, M: Keep<K>, K, V, A> {
    aggregate: &'a A,
    op: &'a Op,
    buckets: Buckets,
    table: Table<M::Kept, V>,
    /// Whether it is of use: until the first look it is believed to be.
    helps: bool,
    /// Rows folded since the table was empty.
    folded: usize,
    /// Rows to be folded.
    rows: Vec<(M::Kept, V)>,
    batch: Batch,
    weight: Weight,
    /// What the table takes is counted as it grows. Handing it on earlier for want of memory would change the order of the
    /// fold.
    size: RowSize<(M::Kept, V)>,
    working: Reservation,
    /// The keys when it was counted last.
    counted: usize,
    /// What was handed on, as long as all of it can be held and stays in the process.
    runs: Option<Vec<Run<M::Kept, V>>>,
    /// Where it goes otherwise.
    writer: BucketWriter<(K, V)>,
    task: TaskContext,
}

impl<'a, M: Keep<K>, K: Key, V: Row, A: Aggregate<V, State = V, Out = V>> Combine<'a, M, K, V, A> {
    fn new(
        aggregate: &'a A,
        op: &'a Op,
        buckets: Buckets,
        room: Vec<(M::Kept, V)>,
        task: &TaskContext,
    ) -> Result<Self> {
        let writer = BucketWriter::new(buckets, task)?;
        Ok(Combine {
            aggregate,
            op,
            buckets,
            table: Table::in_room(room),
            helps: true,
            folded: 0,
            rows: Vec::with_capacity(TOGETHER),
            batch: Batch::default(),
            weight: Weight::default(),
            size: RowSize::new(),
            working: task.host().memory().reservation(),
            counted: 0,
            runs: (!writer.leaves()).then(Vec::new),
            writer,
            task: task.clone(),
        })
    }

    /// Hands a row on as it is. Part of the caller's loop, so that a key need not lie in memory for a call that hardly
    /// any task makes.
    #[inline(always)]
    fn pass_on(&mut self, key: K, value: V) -> Result<()> {
        self.writer.push(self.buckets.of(hash_of(&key)), (key, self.aggregate.create(self.op, value)))
    }

    /// Folds the rows that wait into the table, and hands the table on if it is full or of no use.
    fn fold(&mut self) -> Result<()> {
        let Combine { aggregate, op, table, rows, batch, .. } = self;
        let before = self.folded;
        self.folded += rows.len();
        batch.look_up(rows, table);
        batch.fold(rows.drain(..), table, *aggregate, op);
        self.weight.update(table.entries(), self.folded);
        if (table.len() > self.counted + self.counted / 4 || self.weight.bytes > self.working.bytes())
            && let Some(last) = table.entries().last()
        {
            self.counted = table.len();
            self.size.sample(last);
            let bytes = table.bytes() + self.size.heap_of(table.len()).max(self.weight.bytes);
            self.working.insist(bytes.saturating_sub(self.working.bytes()));
        }
        if table.unshrunk() >= LOOK && self.task.host().memory().is_over() {
            table.shrink();
        }
        let full = table.len() >= COMBINE_KEYS;
        let (keys, folded) = (table.len(), self.folded);
        let useless = |(rows, percent): &(usize, usize)| {
            (before < *rows && folded >= *rows || full) && keys * 100 > folded * percent
        };
        self.helps = !COMBINE_TRIALS.iter().any(useless);
        // A table of few large states says little about keys.
        let heavy = self.weight.bytes >= COMBINE_BYTES;
        if full || heavy || !self.helps { self.hand_on(COMBINE_KEYS.min(2 * keys)) } else { Ok(()) }
    }

    /// Hands on what is in the table, and makes room for so many more keys.
    fn hand_on(&mut self, room: usize) -> Result<()> {
        self.folded = 0;
        self.weight = Weight::default();
        if self.helps && self.hold(room)? { Ok(()) } else { self.write() }
    }

    /// Keeps what is in the table as a run; false if there is no memory for it, or if not all was kept before.
    fn hold(&mut self, room: usize) -> Result<bool> {
        let (Some(runs), Some((key, value))) = (&mut self.runs, self.table.entries().last()) else {
            return Ok(self.runs.is_some());
        };
        if runs.is_empty() {
            codec::prove_carried(&(M::key(key.clone()), value.clone()))?;
        }
        // What was counted for the table is for its rows now.
        let _ = self.working.resize(0);
        self.counted = 0;
        let mut held = self.task.host().memory().reservation();
        if !held.hold(self.size.of(self.table.len())) {
            return Ok(false);
        }
        let table = std::mem::replace(&mut self.table, Table::in_room(Vec::with_capacity(room)));
        let mut rows = table.into_entries();
        if self.task.checks_rows() {
            rows.iter_mut().try_for_each(|row| codec::prove_row(row, true))?;
        }
        runs.push(Run { rows, held });
        Ok(true)
    }

    /// Writes what is in the table, after what was kept.
    fn write(&mut self) -> Result<()> {
        let Combine { table, runs, writer, buckets, .. } = self;
        let mut write = |(key, value)| writer.push(buckets.of(M::key_hash(&key)), (M::key(key), value));
        for run in runs.take().unwrap_or_default() {
            run.rows.into_iter().try_for_each(&mut write)?;
        }
        table.drain().try_for_each(write)
    }

    /// Ends the output: `add` takes the runs if all was kept, or gives them back.
    fn finish(
        mut self,
        add: impl FnOnce(Vec<Run<M::Kept, V>>) -> std::result::Result<BlockValue, Vec<Run<M::Kept, V>>>,
    ) -> Result<Output> {
        let Some(runs) = self.runs.take() else { return self.writer.finish() };
        let mut counts = Counts::new(self.buckets);
        for (key, _) in runs.iter().flat_map(|run| &run.rows) {
            counts.add(self.buckets.of(M::key_hash(key)), 1);
        }
        match add(runs) {
            Ok(block) => Ok(counts.output(MadeBlock::Value(block), &self.size)),
            Err(runs) => {
                self.runs = Some(runs);
                self.write()?;
                self.writer.finish()
            }
        }
    }
}
