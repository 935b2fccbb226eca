//! Folds the outputs of combining map tasks into one while other tasks still run. So memory holds each key once, not
//! once for each task.

use super::aggregate::Aggregate;
use super::batch::{Batch, TOGETHER};
use super::block::{Block, Chunk, Folds, LeftHere};
use super::by_map::ByMap;
use super::hash::Buckets;
use super::keep::Keep;
use super::maps::Maps;
use super::shards::{Run, Shards};
use super::table::Table;
use crate::host::BlockValue;
use crate::row::{Key, Row, RowSize};
use crate::task::TaskContext;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Condvar, OnceLock};
use tryworks_base::lock::{Held, Lock, none_held};
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Op, Result};

/// Stop folding when more than this percentage of rows bring a new key.
const NEW: usize = 95;

/// A left fold over the outputs of map tasks, in the order of their partitions. This is the same fold that readers do,
/// so readers continue from where it stopped, and stopping anywhere gives the same answer. Outputs may arrive in any
/// order; the fold goes as far as there is no gap. It ends when readers begin. It takes no more outputs if the budget
/// refuses more memory.
///
/// Each shard is folded for itself, so several tasks can fold at once.
pub(crate) struct RunningFold<M: Keep<K>, K, V> {
    buckets: Buckets,
    /// They are made for the first output.
    sharded: OnceLock<(Shards, Vec<Lock<Shard<M::Kept, V>>>)>,
    /// The shard that is ended next.
    ending: AtomicU32,
    state: Lock<State<M::Kept, K, V>>,
    /// Notified when no task adds an output any more, and when the fold has ended.
    rested: Condvar,
}

struct State<T, K, V> {
    maps: Maps,
    phase: Phase<(K, V)>,
    /// The tasks that are adding their output.
    adding: u32,
    /// Whether rows are lost, because the user's function panicked or the aggregate failed.
    lost: bool,
    /// The memory of all shards' tables, until the fold has ended.
    held: Option<Reservation>,
    /// Empty vectors with the capacity of tables that were handed on, for new map tasks, and the memory that they take.
    spare: Vec<(Vec<(T, V)>, Reservation)>,
}

impl<T, K, V> State<T, K, V> {
    /// Takes no more outputs.
    fn close(&mut self) {
        self.phase = Phase::Full;
        self.spare = Vec::new();
    }
}

enum Phase<T> {
    /// The fold takes outputs.
    Open,
    /// It takes no more outputs, because memory is short or nearly all rows bring new keys.
    Full,
    /// Readers end it, each of them some shards. So many shards are still to be ended.
    Ending(Ended<T>, usize),
    Ended(Ended<T>),
}

/// The rows of an ended fold.
struct Ended<T> {
    /// The folded rows of the shards, and the memory that they take.
    folded: Gathered<T>,
    bytes: u64,
    /// The outputs that were not folded, or not by all shards.
    apart: ByMap<(Gathered<T>, Vec<Arc<Reservation>>)>,
    /// The same as blocks. The first map task's block has all folded rows, too.
    blocks: ByMap<Arc<Block<T>>>,
}

/// Rows by bucket.
type Gathered<T> = Vec<Vec<T>>;

/// Vectors without rows.
fn gathered<T>(buckets: u32) -> Gathered<T> {
    let mut all = Vec::new();
    all.resize_with(buckets as usize, Vec::new);
    all
}

/// The fold of one shard, and the outputs that wait for it.
struct Shard<K, V> {
    /// `None` while a task folds.
    folded: Option<Folded<K, V>>,
    waiting: Vec<Waiting<K, V>>,
}

/// The rows of one output for one shard.
struct Waiting<K, V> {
    map: u32,
    rows: Vec<(K, V)>,
    held: Arc<Reservation>,
}

impl<K, V> Shard<K, V> {
    /// Takes out what waits of the map tasks before `end`, in their order.
    fn take(&mut self, end: u32) -> Vec<Waiting<K, V>> {
        let mut order: Vec<(u32, usize)> = Vec::with_capacity(self.waiting.len());
        for (at, waiting) in self.waiting.iter().enumerate() {
            order.push((waiting.map, at));
        }
        order.sort_unstable();
        let mut all = Vec::with_capacity(order.len());
        for waiting in self.waiting.drain(..) {
            all.push(Some(waiting));
        }
        let mut taken = Vec::with_capacity(order.len());
        for (map, at) in order {
            let Some(waiting) = all[at].take() else { continue };
            if map < end { taken.push(waiting) } else { self.waiting.push(waiting) }
        }
        taken
    }
}

impl<M: Keep<K>, K: Key, V: Row> RunningFold<M, K, V> {
    pub(crate) fn new(buckets: Buckets, task: &TaskContext) -> Self {
        let state = State {
            maps: Maps::default(),
            phase: Phase::Open,
            adding: 0,
            lost: false,
            held: Some(task.host().memory().reservation()),
            spare: Vec::new(),
        };
        RunningFold {
            buckets,
            sharded: OnceLock::new(),
            ending: AtomicU32::new(0),
            state: Lock::new(state),
            rested: Condvar::new(),
        }
    }

    /// How rows are divided. The number of rows of the first output decides; it changes no answer.
    pub(crate) fn shards(&self, rows: usize) -> Shards {
        self.sharded(rows).0
    }

    fn sharded(&self, rows: usize) -> &(Shards, Vec<Lock<Shard<M::Kept, V>>>) {
        self.sharded.get_or_init(|| {
            let shards = Shards::of(self.buckets, rows);
            let mut all = Vec::new();
            for _ in 0..shards.count {
                all.push(Lock::new(Shard { folded: Some(Folded::new()), waiting: Vec::new() }));
            }
            (shards, all)
        })
    }

    fn state(&self) -> Held<'_, State<M::Kept, K, V>> {
        self.state.lock()
    }

    /// Whether the folded rows are lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.state().lost
    }

    /// An empty vector with the capacity of an earlier table.
    pub(crate) fn spare(&self) -> Option<Vec<(M::Kept, V)>> {
        Some(self.state().spare.pop()?.0)
    }

    /// Keeps an empty vector for a later table, if there are not enough of them and the budget allows it.
    pub(crate) fn reuse(&self, entries: Vec<(M::Kept, V)>, task: &TaskContext) {
        let bytes = entries.capacity().saturating_mul(size_of::<(M::Kept, V)>()) as u64;
        let mut held = task.host().memory().reservation();
        let fits = held.hold(bytes);
        let mut state = self.state();
        if fits && matches!(state.phase, Phase::Open) && state.spare.len() < task.host().slots() {
            state.spare.push((entries, held));
        }
    }

    /// Adds the output of a map task, and folds if enough outputs wait. Returns the block that stands for the output, or
    /// returns the output if the fold takes no more. After an error of the aggregate, the fold is lost.
    pub(crate) fn add<A: Aggregate<V, State = V>>(
        self: &Arc<Self>,
        map: u32,
        output: Vec<Run<M::Kept, V>>,
        aggregate: &A,
        op: &Op,
        task: &TaskContext,
    ) -> Result<std::result::Result<BlockValue, Vec<Run<M::Kept, V>>>> {
        let mut state = self.state();
        let block = || Ok(Ok(BlockValue::new(LeftHere::Folded { fold: self.clone(), map })));
        if state.maps.has(map) {
            // An earlier attempt at this task has added the same output.
            drop(state);
            return block();
        }
        if !matches!(state.phase, Phase::Open) {
            return Ok(Err(output));
        }
        state.maps.begin(map);
        state.adding += 1;
        drop(state);
        let mut adding = Adding { to: self, lost: true };
        for Run { rows, held } in output {
            for (shard, rows) in self.sharded(0).1.iter().zip(rows) {
                if !rows.is_empty() {
                    shard.lock().waiting.push(Waiting { map, rows, held: held.clone() });
                }
            }
        }
        let ready = self.state().maps.end(map);
        if let Some(end) = ready
            && task.check().is_ok()
        {
            self.fold(map, end, aggregate, op)?;
        }
        adding.lost = false;
        block()
    }

    /// Folds the outputs of the map tasks before `end`. Different tasks begin with different shards, and leave out those
    /// that another task folds.
    fn fold<A: Aggregate<V, State = V>>(&self, map: u32, end: u32, aggregate: &A, op: &Op) -> Result<()> {
        let (mut more, mut brought, mut new, mut batch) = (0, 0, 0, Batch::default());
        let (_, shards) = self.sharded(0);
        let (behind, before) = shards.split_at(map as usize * 97 % shards.len());
        for shard in before.iter().chain(behind) {
            let mut shared = shard.lock();
            let Some(mut folded) = shared.folded.take() else { continue };
            let waiting = shared.take(end);
            drop(shared);
            let (bytes, keys) = (folded.bytes(), folded.table.len());
            for Waiting { rows, .. } in waiting {
                brought += if keys > 0 { rows.len() } else { 0 };
                folded.add(rows, &mut batch, aggregate, op)?;
            }
            more += folded.bytes().saturating_sub(bytes);
            new += if keys > 0 { folded.table.len() - keys } else { 0 };
            shard.lock().folded = Some(folded);
        }
        let mut state = self.state();
        let fits = state.held.as_mut().is_none_or(|held| {
            let fits = held.hold(more);
            if !fits {
                // The fold needs no more memory than its outputs did, so it may insist.
                held.insist(more);
            }
            fits
        });
        if (!fits || new * 100 > brought * NEW) && matches!(state.phase, Phase::Open) {
            state.close();
        }
        Ok(())
    }

    /// Ends the fold of a shard: divides its rows, and the rows that still wait, into buckets. The user's code hashes and
    /// drops keys here, so no lock is held.
    fn end_shard(&self, shard: u32) {
        none_held("hashing rows");
        let mut ending = Ending { of: self, ended: None };
        let (Shards { each, .. }, shards) = self.sharded(0);
        let (first, count) = (shard * each, (*each).min(self.buckets.count() - shard * each));
        let mut shared = shards[shard as usize].lock();
        let (folded, waiting) = (shared.folded.take(), shared.take(u32::MAX));
        drop(shared);
        let gather = |rows: Vec<(M::Kept, V)>| {
            let mut by_bucket = gathered(count);
            for (key, value) in rows {
                by_bucket[self.buckets.of(M::key_hash(&key)) - first as usize].push((M::key(key), value));
            }
            by_bucket
        };
        let bytes = folded.as_ref().map_or(0, |folded| folded.size.of(folded.table.len()));
        let folded = folded.map_or_else(Vec::new, |folded| gather(folded.table.into_entries()));
        let mut apart = Vec::with_capacity(waiting.len());
        for Waiting { map, rows, held } in waiting {
            apart.push((map, gather(rows), held));
        }
        ending.ended = Some(EndedShard { first: first as usize, folded, bytes, apart });
    }
}

/// The rows of a shard whose fold has ended, by bucket.
struct EndedShard<T> {
    first: usize,
    folded: Gathered<T>,
    bytes: u64,
    apart: Vec<(u32, Gathered<T>, Arc<Reservation>)>,
}

impl<T> Ended<T> {
    fn new(buckets: Buckets) -> Self {
        let folded = gathered(buckets.count());
        Ended { folded, bytes: 0, apart: ByMap::default(), blocks: ByMap::default() }
    }

    /// Adds the rows of a shard.
    fn add(&mut self, shard: EndedShard<T>) {
        let EndedShard { first, folded, bytes, apart } = shard;
        self.bytes += bytes;
        for (to, rows) in self.folded[first..].iter_mut().zip(folded) {
            *to = rows;
        }
        for (map, rows, held) in apart {
            let buckets = self.folded.len() as u32;
            let (all, reserved) = self.apart.entry(map, || (gathered(buckets), Vec::new()));
            for (to, mut rows) in all[first..].iter_mut().zip(rows) {
                to.append(&mut rows);
            }
            if !reserved.iter().any(|other| Arc::ptr_eq(other, &held)) {
                reserved.push(held);
            }
        }
    }

    /// Makes blocks of all rows, when all shards are there. `held` is the memory of the folded rows.
    fn finish(&mut self, held: Option<Reservation>) {
        let mut reserved = Vec::new();
        if let Some(mut held) = held {
            let _ = held.resize(self.bytes.min(held.bytes()));
            reserved.push(Arc::new(held));
        }
        let folded = Chunk::Gathered { buckets: std::mem::take(&mut self.folded), _held: reserved };
        let apart = std::mem::take(&mut self.apart);
        let mut blocks = apart.map(|(buckets, _held)| Block { chunks: vec![Chunk::Gathered { buckets, _held }] });
        // The rows of the first map task that were not folded follow the folded rows, in other buckets.
        blocks.entry(0, || Block { chunks: Vec::new() }).chunks.insert(0, folded);
        self.blocks = blocks.map(Arc::new);
    }
}

/// Notes that a task has added its output, when this is dropped.
struct Adding<'a, M: Keep<K>, K: Key, V: Row> {
    to: &'a RunningFold<M, K, V>,
    /// Whether rows are lost, because the user's function panicked or the aggregate failed meanwhile.
    lost: bool,
}

impl<M: Keep<K>, K: Key, V: Row> Drop for Adding<'_, M, K, V> {
    fn drop(&mut self) {
        let mut state = self.to.state();
        state.adding -= 1;
        state.lost |= self.lost;
        drop(state);
        self.to.rested.notify_all();
    }
}

/// Notes that a shard is ended, when this is dropped.
struct Ending<'a, M: Keep<K>, K: Key, V: Row> {
    of: &'a RunningFold<M, K, V>,
    /// Its rows; `None` if a function of the user's panicked.
    ended: Option<EndedShard<(K, V)>>,
}

impl<M: Keep<K>, K: Key, V: Row> Drop for Ending<'_, M, K, V> {
    fn drop(&mut self) {
        let mut state = self.of.state();
        let state = &mut *state;
        state.lost |= self.ended.is_none();
        if let Phase::Ending(ended, left) = &mut state.phase {
            if let Some(shard) = self.ended.take() {
                ended.add(shard);
            }
            *left -= 1;
            if *left == 0 {
                let mut ended = std::mem::replace(ended, Ended::new(Buckets::plain(0)));
                ended.finish(state.held.take());
                state.phase = Phase::Ended(ended);
                self.of.rested.notify_all();
            }
        }
    }
}

impl<M: Keep<K>, K: Key, V: Row> Folds<(K, V)> for RunningFold<M, K, V> {
    fn block(&self, map: u32) -> Result<Arc<Block<(K, V)>>> {
        let mut state = self.state();
        let blocks = loop {
            match &state.phase {
                Phase::Ended(ended) => break &ended.blocks,
                Phase::Open => state.close(),
                // Readers begin after all map tasks, so only redundant attempts can still be adding.
                Phase::Full if state.adding > 0 => state = state.wait(&self.rested),
                Phase::Full => state.phase = Phase::Ending(Ended::new(self.buckets), self.sharded(0).1.len()),
                Phase::Ending(..) => {
                    drop(state);
                    loop {
                        let shard = self.ending.fetch_add(1, Relaxed);
                        if shard as usize >= self.sharded(0).1.len() {
                            break;
                        }
                        self.end_shard(shard);
                    }
                    state = self.state();
                    if matches!(state.phase, Phase::Ending(..)) {
                        state = state.wait(&self.rested);
                    }
                }
            }
        };
        if state.lost {
            return Err(Error::Bug("the fold is lost because a function panicked".into()));
        }
        match blocks.get(map) {
            Some(block) => Ok(block.clone()),
            None if state.maps.has(map) => Ok(Arc::new(Block { chunks: Vec::new() })),
            None => Err(never_added(map)),
        }
    }
}

#[cold]
#[inline(never)]
fn never_added(map: u32) -> Error {
    Error::Bug(format!("the output of map task {map} was never added"))
}

/// The folded rows of a shard: keys in the order of their first arrival.
struct Folded<K, V> {
    table: Table<K, V>,
    size: RowSize<(K, V)>,
}

impl<K: Key, V: Row> Folded<K, V> {
    fn new() -> Self {
        Folded { table: Table::new(), size: RowSize::new() }
    }

    /// Folds rows.
    fn add<A: Aggregate<V, State = V>>(
        &mut self,
        rows: Vec<(K, V)>,
        batch: &mut Batch,
        aggregate: &A,
        op: &Op,
    ) -> Result<()> {
        if let Some(row) = rows.last() {
            self.size.sample(row);
        }
        let mut rows = rows.into_iter();
        while !rows.as_slice().is_empty() {
            let some = rows.len().min(TOGETHER);
            batch.look_up(&rows.as_slice()[..some], &self.table);
            batch.fold(rows.by_ref().take(some), &mut self.table, usize::MAX, &mut Vec::new(), aggregate, op)?;
        }
        Ok(())
    }

    /// The bytes that the rows take.
    fn bytes(&self) -> u64 {
        self.table.bytes() + self.size.heap_of(self.table.len())
    }
}
