//! The outputs of the first map tasks that combine, folded into one while the others still run: what is held of them is
//! each key once, not once for each task.

use super::aggregate::Aggregate;
use super::batch::Batch;
use super::block::{Block, Chunk, Deferred, Later};
use super::table::Table;
use crate::error::{Error, Result};
use crate::host::Shared;
use crate::memory::Reservation;
use crate::row::{Key, Row, RowSize};
use crate::task::{Op, Task};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// So many outputs at least are folded at a time: the table of a bucket stays in the cache meanwhile.
const TOGETHER: u32 = 4;

/// Folding on is of no use if more than so many of a hundred rows have a key that was not there.
const NEW: usize = 95;

/// A left fold over the outputs of map tasks in the order of their partitions, which is what their readers would do. It
/// goes as far as there are outputs, in whichever order they come. How far that is changes no answer: readers go on
/// from there. It ends when they begin, or when the budget has no room for it.
pub(crate) struct Prefix<K, V> {
    state: Mutex<State<K, V>>,
    /// Told when a task has done its part of the fold.
    rested: Condvar,
}

struct State<K, V> {
    /// The outputs of partitions before this one are folded.
    next: u32,
    fold: Progress<K, V>,
    /// Outputs that may be folded yet, by partition.
    waiting: BTreeMap<u32, Block<(K, V)>>,
}

enum Progress<K, V> {
    /// More can be folded.
    Open(Folded<K, V>),
    /// A task is at it.
    Busy,
    /// No more is.
    Ended(Ended<(K, V)>),
}

struct Ended<T> {
    /// What was folded, unless the user's function panicked in the middle.
    folded: Option<Arc<Block<T>>>,
    /// What was not, by partition.
    apart: BTreeMap<u32, Arc<Block<T>>>,
}

impl<K: Key, V: Row> Prefix<K, V> {
    pub(crate) fn new(buckets: u32, task: &Task) -> Self {
        let state = State { next: 0, fold: Progress::Open(Folded::new(buckets, task)), waiting: BTreeMap::new() };
        Prefix { state: Mutex::new(state), rested: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what was folded is gone.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.state().fold, Progress::Ended(Ended { folded: None, .. }))
    }

    /// Takes the output of a map task in, and gives what stands for it. Folds what can be folded now.
    pub(crate) fn add<A: Aggregate<V, State = V, Out = V>>(
        self: &Arc<Self>,
        map: u32,
        block: Block<(K, V)>,
        aggregate: &A,
        op: &Op,
        task: &Task,
    ) -> Shared {
        let mut state = self.state();
        // An attempt before this one may have brought the same.
        if map >= state.next {
            if matches!(state.fold, Progress::Ended(_)) {
                return Arc::new(block);
            }
            state.waiting.insert(map, block);
        }
        while let Some((mut folded, blocks)) = state.begin(task) {
            drop(state);
            let unless_done = LostUnlessDone(self);
            let outputs = blocks.len() as u32;
            folded.add(blocks, aggregate, op);
            std::mem::forget(unless_done);
            let goes_on = folded.goes_on();
            state = self.state();
            state.next += outputs;
            match goes_on {
                true => state.fold = Progress::Open(folded),
                false => state.end(Some(folded)),
            }
            self.rested.notify_all();
        }
        Arc::new(Deferred { from: self.clone(), map })
    }
}

impl<K: Key, V: Row> State<K, V> {
    /// Takes out the fold and the next outputs, if there are enough of them.
    fn begin(&mut self, task: &Task) -> Option<(Folded<K, V>, Vec<Block<(K, V)>>)> {
        let next = (self.next..).map_while(|map| self.waiting.get(&map));
        let (count, held) = next.fold((0, true), |(count, held), block| (count + 1, held && block.is_held()));
        if held && count < TOGETHER || task.check().is_err() {
            return None;
        }
        let folded = self.take()?;
        if !held {
            // What was spilled stays where it is.
            self.end(Some(folded));
            return None;
        }
        let later = self.waiting.split_off(&(self.next + count));
        Some((folded, std::mem::replace(&mut self.waiting, later).into_values().collect()))
    }

    /// Takes out the fold if it is here.
    fn take(&mut self) -> Option<Folded<K, V>> {
        match std::mem::replace(&mut self.fold, Progress::Busy) {
            Progress::Open(folded) => Some(folded),
            other => {
                self.fold = other;
                None
            }
        }
    }

    fn end(&mut self, folded: Option<Folded<K, V>>) {
        let apart = std::mem::take(&mut self.waiting).into_iter().map(|(map, block)| (map, Arc::new(block)));
        self.fold = Progress::Ended(Ended { folded: folded.map(Folded::into_block), apart: apart.collect() });
    }
}

/// Says that the fold is lost if a user's function panics.
struct LostUnlessDone<'a, K: Key, V: Row>(&'a Prefix<K, V>);

impl<K: Key, V: Row> Drop for LostUnlessDone<'_, K, V> {
    #[cold]
    fn drop(&mut self) {
        self.0.state().end(None);
        self.0.rested.notify_all();
    }
}

impl<K: Key, V: Row> Later<(K, V)> for Prefix<K, V> {
    fn block(&self, map: u32) -> Result<Arc<Block<(K, V)>>> {
        let busy = |state: &mut State<K, V>| matches!(state.fold, Progress::Busy);
        // Only a task that nobody waits for any more can still be at it.
        let mut state = self.rested.wait_while(self.state(), busy).unwrap_or_else(PoisonError::into_inner);
        if let Some(folded) = state.take() {
            state.end(Some(folded));
        }
        let next = state.next;
        let Progress::Ended(Ended { folded, apart }) = &state.fold else {
            return Err(Error::Bug("a fold has not ended".into()));
        };
        if let Some(block) = apart.get(&map) {
            return Ok(block.clone());
        }
        match folded {
            // The first one stands for all that were folded.
            Some(folded) if map == 0 && next > 0 => Ok(folded.clone()),
            Some(_) if map < next => Ok(Arc::new(Block { chunks: Vec::new() })),
            Some(_) => Err(Error::Bug(format!("the output of map task {map} was never brought"))),
            None => Err(Error::Bug("what it was folded into is lost to a panic".into())),
        }
    }
}

/// What was folded, by bucket: the keys of each in the order of their first arrival.
struct Folded<K, V> {
    tables: Vec<Table<K, V>>,
    keys: usize,
    /// Whether the last outputs had enough keys that were there already.
    helps: bool,
    size: RowSize<(K, V)>,
    held: Reservation,
}

impl<K: Key, V: Row> Folded<K, V> {
    fn new(buckets: u32, task: &Task) -> Self {
        let tables = (0..buckets).map(|_| Table::new()).collect();
        Folded { tables, keys: 0, helps: true, size: RowSize::new(), held: task.host().memory().reservation() }
    }

    fn add<A: Aggregate<V, State = V, Out = V>>(&mut self, blocks: Vec<Block<(K, V)>>, aggregate: &A, op: &Op) {
        let (mut batch, mut chunks, mut brought) = (Batch::default(), Vec::new(), 0);
        for chunk in blocks.into_iter().flat_map(|block| block.chunks) {
            let Chunk::Held { rows, ends, _held } = chunk else { continue };
            brought += rows.len();
            if let Some(row) = rows.last() {
                self.size.sample(row);
            }
            chunks.push((rows.into_iter(), ends, _held));
        }
        for (bucket, table) in (0..).zip(&mut self.tables) {
            for (rows, ends, _) in &mut chunks {
                let some = ends.of_bucket(bucket).len();
                batch.look_up(&rows.as_slice()[..some], table);
                batch.fold(rows.by_ref().take(some), table, aggregate, op);
            }
        }
        let keys = self.tables.iter().map(Table::len).sum();
        self.helps = (keys - self.keys) * 100 <= brought * NEW;
        self.keys = keys;
    }

    /// Counts what it takes, and says whether more should be folded.
    fn goes_on(&mut self) -> bool {
        let bytes = self.tables.iter().map(Table::bytes).sum::<u64>() + self.size.heap_of(self.keys);
        let more = bytes.saturating_sub(self.held.bytes());
        let room = self.held.hold(more);
        if !room {
            // It takes no more than the outputs did that went into it.
            self.held.insist(more);
        }
        room && self.helps
    }

    /// What was folded, as a block.
    fn into_block(mut self) -> Arc<Block<(K, V)>> {
        let bytes = self.size.of(self.keys);
        let buckets = self.tables.into_iter().map(Table::into_entries).collect();
        // Without the tables it takes less.
        let _ = self.held.resize(bytes.min(self.held.bytes()));
        Arc::new(Block { chunks: vec![Chunk::Gathered { buckets, _held: self.held }] })
    }
}
