//! The map side of an aggregation that combines before the shuffle. Its table is bounded by the number of keys, and by
//! the bytes that keys and states point to.

use super::aggregate::{Merge, Merging};
use super::batch::{Batch, TOGETHER, TOGETHER_BYTES};
use super::hash::{Buckets, hash_of};
use super::keep::Keep;
use super::running_fold::RunningFold;
use super::shards::{Run, Sharded};
use super::table::Table;
use super::write::{BucketWriter, Counts, is_too_much, unless_failed};
use crate::gather::Gathered;
use crate::heap::heap_bytes;
use crate::host::MadeBlock;
use crate::pipe::{CONTINUE, Pipe, drive};
use crate::row::{Key, Row, RowSize};
use crate::ship::{Ship, ship};
use crate::stage::{Output, StageCode};
use crate::task::TaskContext;
use serde::Serialize;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use tryworks_base::lock::Lock;
use tryworks_base::memory::Reservation;
use tryworks_base::{Op, Result, codec};

/// The most keys in the table of a map task. The rows of other keys are passed on as they are, behind the table's. So
/// the table stays in the CPU's caches, and holds the keys that are frequent, because these come early.
const COMBINE_KEYS: usize = 1 << 16;
/// The most rows that are passed on behind a table. Then the task hands on both.
const PASSED_ON: usize = 1 << 17;
/// `(rows, percent)`: the task hands on a table if at least `rows` rows came since it was full, and more than `percent` of
/// them are of other keys. Then its keys are no longer the frequent ones, as in input that is sorted by key.
const STALE: (usize, usize) = (4_096, 75);
/// The most bytes that these rows, keys and states point to. Then the task hands the table on. The bytes are counted from
/// the data alone. If free memory decided, the same job would fold in another order elsewhere.
const COMBINE_BYTES: u64 = 16 << 20;
/// How many entries are weighed again, to see whether states have grown.
const LOOKED_AT: usize = 64;
/// `(rows, percent)`: after `rows` rows, stop combining if distinct keys exceed `percent` of them. The first, stricter
/// test catches keys that almost never repeat; combining these until the second test would be expensive.
const COMBINE_TRIALS: [(usize, usize); 2] = [(16_384, 97), (100_000, 80)];

/// The map tasks of an aggregation that combines before the shuffle.
///
/// `V` is the type of values, and `S` that of the states which the tasks leave.
pub(crate) struct CombineStage<M: Keep<K>, P, A, K, V, S> {
    input: P,
    aggregate: A,
    buckets: Buckets,
    op: Op,
    /// The number of keys of the last partition: the capacity for the next one's table.
    last_keys: AtomicUsize,
    /// The running fold over the outputs in this process, while one of these outputs exists.
    running: Lock<Weak<RunningFold<M, K, S>>>,
    value: PhantomData<fn(V)>,
}

impl<M: Keep<K>, P, A, K: Key, V: Row, S: Row> CombineStage<M, P, A, K, V, S> {
    pub(crate) fn new(input: P, aggregate: A, buckets: Buckets, op: Op) -> Self {
        let (last_keys, running) = (AtomicUsize::new(0), Lock::new(Weak::new()));
        CombineStage { input, aggregate, buckets, op, last_keys, running, value: PhantomData }
    }

    fn running_fold(&self, task: &TaskContext) -> Arc<RunningFold<M, K, S>> {
        let mut shared = self.running.lock();
        let before = shared.upgrade();
        let running = before.clone().filter(|running| !running.is_lost()).unwrap_or_else(|| {
            let new = Arc::new(RunningFold::new(self.buckets, task));
            *shared = Arc::downgrade(&new);
            new
        });
        // This may drop the last handle of a lost fold, with its rows, so the lock must be released before.
        drop(shared);
        drop(before);
        running
    }
}

ship!([M: Keep<K>, P: Ship, A: Ship, K: Key, V: Row, S: Row] CombineStage<M, P, A, K, V, S> {
    input: ship, aggregate: ship, buckets: value, op: value, last_keys: none, running: none, value: none
});

impl<M, K, V, P, A> StageCode for CombineStage<M, P, A, K, V, A::State>
where
    M: Keep<K>,
    K: Key,
    V: Row,
    P: Pipe<Item = (K, V)>,
    A: Merge<V>,
{
    fn run(&self, partition: u32, task: &TaskContext) -> Result<Output> {
        let CombineStage { aggregate, op, .. } = self;
        let mut cursor = self.input.open(partition, task)?;
        aggregate.ready(op, task.place())?;
        let mut failed = None;
        let running = self.running_fold(task);
        // A vector of the right capacity does not grow while the table fills.
        let entries = running.spare().unwrap_or_else(|| Vec::with_capacity(self.last_keys.load(Relaxed)));
        let mut combine = Combine::<M, K, V, A>::new(self, &running, entries, task)?;
        drive(&mut cursor, task, &mut |(key, value)| {
            if !combine.helps {
                return unless_failed(combine.pass_on(key, value), &mut failed);
            }
            combine.rows.push((M::keep(key), value));
            if !combine.gathered.is_full(&combine.rows, heap_bytes) {
                return CONTINUE;
            }
            unless_failed(combine.fold(), &mut failed)
        })?;
        failed.map_or(Ok(()), Err)?;
        combine.fold()?;
        self.last_keys.store(combine.table.len(), Relaxed);
        combine.hand_on()?;
        combine.finish(partition)
    }
}

/// How many bytes the entries of a table point to, counted from the data alone.
#[derive(Default)]
struct Weight {
    bytes: u64,
    /// How many entries were weighed when they were new.
    entries: usize,
    /// How many rows had been folded when states were weighed last.
    rows: usize,
}

impl Weight {
    /// Weighs the entries that are new. Each time the number of folded rows has doubled, it also weighs a sample of the
    /// old entries again, because states may grow. The sample includes early entries: frequent keys come early, and
    /// their states grow most.
    fn update<K: Serialize, S: Serialize>(&mut self, entries: &[(K, S)], folded: usize) {
        if const { std::mem::needs_drop::<(K, S)>() } {
            self.update_by(&mut |at| heap_bytes(&entries[at]), entries.len(), folded);
        }
    }

    /// The part of [`update`](Weight::update) that is compiled once, not for each type of entries. `heap_of` returns the number
    /// of bytes that an entry points to.
    fn update_by(&mut self, heap_of: &mut dyn FnMut(usize) -> u64, entries: usize, folded: usize) {
        self.bytes += (self.entries..entries).map(&mut *heap_of).sum::<u64>();
        self.entries = entries;
        if folded >= 2 * self.rows {
            self.rows = folded;
            let early: u64 = (0..entries.min(LOOKED_AT / 2)).map(&mut *heap_of).sum();
            let step = entries.div_ceil(LOOKED_AT / 2).max(1);
            let (mut some, mut count) = (0, 0);
            for at in (LOOKED_AT / 2..entries).step_by(step) {
                some += heap_of(at);
                count += 1;
            }
            let others = entries.saturating_sub(LOOKED_AT / 2) as u64;
            let now = early + (some * others).checked_div(count).unwrap_or(0);
            self.bytes = self.bytes.max(now);
        }
    }
}

/// Whether combining is worthwhile, if `left` rows are to be shuffled after `folded` rows were folded or passed on. `before`
/// is the number of those at the last look, and `full` says whether the rows are handed on now.
fn helps(left: usize, before: usize, folded: usize, full: bool) -> bool {
    let useless =
        |(rows, percent): &(usize, usize)| (before < *rows && folded >= *rows || full) && left * 100 > folded * percent;
    !COMBINE_TRIALS.iter().any(useless)
}

/// The table of a map task. Every decision here depends on the rows alone, because it affects the order in which values
/// are folded.
struct Combine<'a, M: Keep<K>, K, V, A: Merge<V>> {
    aggregate: &'a A,
    op: &'a Op,
    buckets: Buckets,
    table: Table<M::Kept, A::State>,
    /// Whether combining helps. It counts as helping until the first test.
    helps: bool,
    /// Rows folded or passed on since the table was empty.
    folded: usize,
    /// How many these were when the table was full.
    full_at: usize,
    /// The rows that came when the table was full, and whose keys are not in it. They are shuffled behind its entries,
    /// so that keys stay in the order of their first arrival.
    others: Vec<(M::Kept, A::State)>,
    /// Rows to be folded.
    rows: Vec<(M::Kept, V)>,
    /// Whether these are enough.
    gathered: Gathered,
    batch: Batch,
    weight: Weight,
    /// How many bytes the others point to.
    others_weight: u64,
    /// The table's memory is counted as it grows, but never refused: handing the table on earlier would change the
    /// order of the fold.
    size: RowSize<(M::Kept, A::State)>,
    working: Reservation,
    /// The number of keys and others when the memory was counted last.
    counted: usize,
    /// The resident memory of the process when entries were shrunk last.
    resident: u64,
    /// What was handed on, while all of it can be held and readers are in this process.
    runs: Option<Vec<Run<M::Kept, A::State>>>,
    /// The rows of `runs` in each bucket.
    counts: Counts,
    /// Where the runs go.
    running: &'a Arc<RunningFold<M, K, A::State>>,
    /// Where rows go if they are not kept in `runs`.
    writer: BucketWriter<(K, A::State)>,
    task: TaskContext,
}

impl<'a, M: Keep<K>, K: Key, V: Row, A: Merge<V>> Combine<'a, M, K, V, A> {
    fn new<P>(
        stage: &'a CombineStage<M, P, A, K, V, A::State>,
        running: &'a Arc<RunningFold<M, K, A::State>>,
        entries: Vec<(M::Kept, A::State)>,
        task: &TaskContext,
    ) -> Result<Self> {
        let CombineStage { aggregate, op, buckets, .. } = stage;
        let buckets = *buckets;
        let writer = BucketWriter::new(buckets, task)?;
        Ok(Combine {
            aggregate,
            op,
            buckets,
            table: Table::reusing(entries),
            helps: true,
            folded: 0,
            full_at: 0,
            others: Vec::new(),
            rows: Vec::with_capacity(TOGETHER),
            gathered: Gathered::new(TOGETHER, TOGETHER_BYTES),
            batch: Batch::default(),
            weight: Weight::default(),
            others_weight: 0,
            size: RowSize::new(),
            working: task.host().memory().reservation(),
            counted: 0,
            resident: task.host().memory().resident(),
            runs: (!writer.leaves()).then(Vec::new),
            counts: Counts::new(buckets),
            running,
            writer,
            task: task.clone(),
        })
    }

    /// Hands a row on as it is. It is inlined into the caller's loop: a call would force the key out of registers, and
    /// hardly any task makes this call.
    #[inline(always)]
    fn pass_on(&mut self, key: K, value: V) -> Result<()> {
        self.writer.push(self.buckets.of(hash_of(&key)), (key, self.aggregate.create(self.op, value)))
    }

    /// Folds the waiting rows into the table. Hands the table on if that is due or combining does not help.
    fn fold(&mut self) -> Result<()> {
        let Combine { aggregate, op, table, rows, others, batch, .. } = self;
        let (before, passed) = (self.folded, others.len());
        self.folded += rows.len();
        batch.look_up(rows, table);
        batch.fold(rows.drain(..), table, COMBINE_KEYS, others, *aggregate, op)?;
        self.gathered.begin(0);
        if table.len() < COMBINE_KEYS {
            self.full_at = self.folded;
        }
        self.weight.update(table.entries(), self.folded);
        if const { std::mem::needs_drop::<(M::Kept, A::State)>() } {
            self.others_weight += others[passed..].iter().map(heap_bytes).sum::<u64>();
        }
        self.count_memory();
        if const { std::mem::needs_drop::<(M::Kept, A::State)>() }
            && is_too_much(self.table.unshrunk(), self.resident, &self.task)
        {
            self.table.shrink();
            self.resident = self.task.host().memory().resident();
        }
        let (others, since) = (self.others.len(), self.folded - self.full_at);
        let stale = since >= STALE.0 && others * 100 > since * STALE.1;
        let full = others >= PASSED_ON || stale;
        self.helps = helps(self.table.len() + others, before, self.folded, full);
        // A table that is full because its states are large says little about keys, so this does not affect `helps`.
        let heavy = self.weight.bytes + self.others_weight >= COMBINE_BYTES;
        if full || heavy || !self.helps { self.hand_on() } else { Ok(()) }
    }

    /// Counts the memory of the table and of the others.
    fn count_memory(&mut self) {
        let (rows, weight) = (self.table.len() + self.others.len(), self.weight.bytes + self.others_weight);
        if (rows > self.counted + self.counted / 4 || weight > self.working.bytes())
            && let Some(last) = self.table.entries().last()
        {
            self.counted = rows;
            self.size.sample(last);
            let others = (self.others.capacity() * size_of::<(M::Kept, A::State)>()) as u64;
            let bytes = self.table.bytes() + others + self.size.heap_of(rows).max(weight);
            self.working.insist(bytes.saturating_sub(self.working.bytes()));
        }
    }

    /// Hands on the table and the others, and begins with an empty table.
    fn hand_on(&mut self) -> Result<()> {
        (self.folded, self.full_at, self.others_weight) = (0, 0, 0);
        self.weight = Weight::default();
        if self.helps && self.hold()? { Ok(()) } else { self.write() }
    }

    /// Keeps the rows as a run. Returns false if the budget refuses, or if earlier rows were not kept.
    fn hold(&mut self) -> Result<bool> {
        let (Some(runs), Some((key, state))) = (&mut self.runs, self.table.entries().last()) else {
            return Ok(self.runs.is_some());
        };
        if runs.is_empty() {
            codec::prove_carried(&(M::key(key.clone()), state.clone()))?;
        }
        // The memory of the table's rows is reserved by `held` from now on.
        let _ = self.working.resize(0);
        self.counted = 0;
        let mut held = self.task.host().memory().reservation();
        let rows = self.table.len() + self.others.len();
        if !held.hold(self.size.of(rows)) {
            return Ok(false);
        }
        let shards = self.running.shards(rows);
        let mut sharded = Sharded::<M, K, A::State>::new(self.buckets, shards, &mut self.counts);
        sharded.add(self.table.entries());
        sharded.add(&self.others);
        let mut rows = sharded.fill(self.table.drain().chain(self.others.drain(..)));
        if self.task.checks_rows() {
            for rows in &mut rows {
                codec::prove_rows(rows, true)?;
            }
        }
        runs.push(Run { rows, held: Arc::new(held) });
        Ok(true)
    }

    /// Writes the runs that were kept, then the table and the others.
    fn write(&mut self) -> Result<()> {
        let Combine { table, others, runs, writer, buckets, .. } = self;
        let mut write = |(key, value)| writer.push(buckets.of(M::key_hash(&key)), (M::key(key), value));
        for run in runs.take().unwrap_or_default() {
            for row in run.rows.into_iter().flatten() {
                write(row)?;
            }
        }
        for row in table.drain() {
            write(row)?;
        }
        for row in others.drain(..) {
            write(row)?;
        }
        Ok(())
    }

    /// Ends the output. If all tables were kept, the running fold gets the runs; it may return them, and then they are
    /// written.
    fn finish(mut self, partition: u32) -> Result<Output> {
        let running = self.running;
        if let Some(runs) = self.runs.take() {
            running.reuse(std::mem::replace(&mut self.table, Table::new()).into_entries(), &self.task);
            let merging = Merging::new(self.aggregate.clone());
            match running.add(partition, runs, &merging, self.op, &self.task)? {
                Ok(block) => return Ok(self.counts.output(MadeBlock::Value(block), self.size.size())),
                Err(runs) => self.runs = Some(runs),
            }
            self.write()?;
        }
        self.writer.finish()
    }
}
