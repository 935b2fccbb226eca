//! The map side of an aggregation that combines before the shuffle. Its table is bounded by the number of keys, and by
//! the bytes that keys and states point to.

use super::aggregate::{Merge, Merging};
use super::batch::{Batch, TOGETHER, TOGETHER_BYTES};
use super::hash::{Buckets, hash_of};
use super::keep::Keep;
use super::running_fold::{Run, RunningFold};
use super::table::Table;
use super::write::{BucketWriter, Counts, is_too_much, unless_failed};
use crate::gather::Gathered;
use crate::heap::heap_bytes;
use crate::host::{BlockValue, MadeBlock};
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

/// The most keys in the table of a map task. Then the task hands the table on.
const COMBINE_KEYS: usize = 1 << 17;
/// The most bytes that the keys and states in the table point to. Then the task hands the table on. The bytes are
/// counted from the data alone. If free memory decided, the same job would fold in another order elsewhere.
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
        let CombineStage { aggregate, buckets, op, .. } = self;
        let mut cursor = self.input.open(partition, task)?;
        aggregate.ready(op, task.place())?;
        let mut failed = None;
        let running = self.running_fold(task);
        // A vector of the right capacity does not grow while the table fills.
        let entries = running.spare().unwrap_or_else(|| Vec::with_capacity(self.last_keys.load(Relaxed)));
        let mut combine = Combine::<M, K, V, A>::new(aggregate, op, *buckets, entries, task)?;
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
        combine.hand_on(0)?;
        let merging = Merging::new(aggregate.clone());
        combine.finish(|runs| running.add(partition, runs, &merging, op, task))
    }
}

/// The tables that a task has handed on.
type Runs<K, S> = Vec<Run<K, S>>;

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

/// Whether combining is worthwhile, after `folded` rows made `keys` entries. `before` is the number of rows at the last look.
fn helps(keys: usize, before: usize, folded: usize, full: bool) -> bool {
    let useless =
        |(rows, percent): &(usize, usize)| (before < *rows && folded >= *rows || full) && keys * 100 > folded * percent;
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
    /// Rows folded since the table was empty.
    folded: usize,
    /// Rows to be folded.
    rows: Vec<(M::Kept, V)>,
    /// Whether these are enough.
    gathered: Gathered,
    batch: Batch,
    weight: Weight,
    /// The table's memory is counted as it grows, but never refused: handing the table on earlier would change the
    /// order of the fold.
    size: RowSize<(M::Kept, A::State)>,
    working: Reservation,
    /// The number of keys when the memory was counted last.
    counted: usize,
    /// The resident memory of the process when entries were shrunk last.
    resident: u64,
    /// The tables that were handed on, while all of them can be held and readers are in this process.
    runs: Option<Runs<M::Kept, A::State>>,
    /// Where rows go if they are not kept in `runs`.
    writer: BucketWriter<(K, A::State)>,
    task: TaskContext,
}

impl<'a, M: Keep<K>, K: Key, V: Row, A: Merge<V>> Combine<'a, M, K, V, A> {
    fn new(
        aggregate: &'a A,
        op: &'a Op,
        buckets: Buckets,
        entries: Vec<(M::Kept, A::State)>,
        task: &TaskContext,
    ) -> Result<Self> {
        let writer = BucketWriter::new(buckets, task)?;
        Ok(Combine {
            aggregate,
            op,
            buckets,
            table: Table::reusing(entries),
            helps: true,
            folded: 0,
            rows: Vec::with_capacity(TOGETHER),
            gathered: Gathered::new(TOGETHER, TOGETHER_BYTES),
            batch: Batch::default(),
            weight: Weight::default(),
            size: RowSize::new(),
            working: task.host().memory().reservation(),
            counted: 0,
            resident: task.host().memory().resident(),
            runs: (!writer.leaves()).then(Vec::new),
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

    /// Folds the waiting rows into the table. Hands the table on if it is full or combining does not help.
    fn fold(&mut self) -> Result<()> {
        let Combine { aggregate, op, table, rows, batch, .. } = self;
        let before = self.folded;
        self.folded += rows.len();
        batch.look_up(rows, table);
        batch.fold(rows.drain(..), table, *aggregate, op)?;
        self.gathered.begin(0);
        self.weight.update(table.entries(), self.folded);
        if (table.len() > self.counted + self.counted / 4 || self.weight.bytes > self.working.bytes())
            && let Some(last) = table.entries().last()
        {
            self.counted = table.len();
            self.size.sample(last);
            let bytes = table.bytes() + self.size.heap_of(table.len()).max(self.weight.bytes);
            self.working.insist(bytes.saturating_sub(self.working.bytes()));
        }
        if const { std::mem::needs_drop::<(M::Kept, A::State)>() }
            && is_too_much(table.unshrunk(), self.resident, &self.task)
        {
            table.shrink();
            self.resident = self.task.host().memory().resident();
        }
        let full = table.len() >= COMBINE_KEYS;
        let keys = table.len();
        self.helps = helps(keys, before, self.folded, full);
        // A table that is full because its states are large says little about keys, so this does not affect `helps`.
        let heavy = self.weight.bytes >= COMBINE_BYTES;
        if full || heavy || !self.helps { self.hand_on(COMBINE_KEYS.min(2 * keys)) } else { Ok(()) }
    }

    /// Hands the table on. The next table begins with this capacity, in keys.
    fn hand_on(&mut self, capacity: usize) -> Result<()> {
        self.folded = 0;
        self.weight = Weight::default();
        if self.helps && self.hold(capacity)? { Ok(()) } else { self.write() }
    }

    /// Keeps the table as a run. Returns false if the budget refuses, or if an earlier table was not kept.
    fn hold(&mut self, capacity: usize) -> Result<bool> {
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
        if !held.hold(self.size.of(self.table.len())) {
            return Ok(false);
        }
        let table = std::mem::replace(&mut self.table, Table::reusing(Vec::with_capacity(capacity)));
        let mut rows = table.into_entries();
        if self.task.checks_rows() {
            codec::prove_rows(&mut rows, true)?;
        }
        runs.push(Run { rows, held });
        Ok(true)
    }

    /// Writes the runs that were kept, then the table.
    fn write(&mut self) -> Result<()> {
        let Combine { table, runs, writer, buckets, .. } = self;
        let mut write = |(key, value)| writer.push(buckets.of(M::key_hash(&key)), (M::key(key), value));
        for run in runs.take().unwrap_or_default() {
            for row in run.rows {
                write(row)?;
            }
        }
        for row in table.drain() {
            write(row)?;
        }
        Ok(())
    }

    /// Ends the output. If all tables were kept, `add` gets the runs; it may return them, and then they are written.
    fn finish(
        mut self,
        add: impl FnOnce(Runs<M::Kept, A::State>) -> Result<std::result::Result<BlockValue, Runs<M::Kept, A::State>>>,
    ) -> Result<Output> {
        if let Some(runs) = self.runs.take() {
            let mut counts = Counts::new(self.buckets);
            for run in &runs {
                for (key, _) in &run.rows {
                    counts.add(self.buckets.of(M::key_hash(key)), 1);
                }
            }
            match add(runs)? {
                Ok(block) => return Ok(counts.output(MadeBlock::Value(block), self.size.size())),
                Err(runs) => self.runs = Some(runs),
            }
            self.write()?;
        }
        self.writer.finish()
    }
}
