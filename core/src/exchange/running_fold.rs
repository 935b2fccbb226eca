//! Folds the outputs of combining map tasks into one while other tasks still run. So memory holds each key once, not
//! once for each task.

use super::aggregate::Aggregate;
use super::batch::{Batch, TOGETHER};
use super::block::{Block, Chunk, Folds, LeftHere};
use super::by_map::ByMap;
use super::hash::Buckets;
use super::keep::Keep;
use super::table::Table;
use crate::host::BlockValue;
use crate::row::{Key, Row, RowSize};
use crate::task::TaskContext;
use std::sync::{Arc, Condvar};
use tryworks_base::lock::{Held, Lock, none_held};
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Op, Result};

/// Stop folding when more than this percentage of rows bring a new key.
const NEW: usize = 95;

/// Rows of a map task with distinct keys, in the order of the keys' first arrival.
pub(crate) struct Run<K, V> {
    pub(crate) rows: Vec<(K, V)>,
    pub(crate) held: Reservation,
}

/// A left fold over the outputs of map tasks, in the order of their partitions. This is the same fold that readers do,
/// so readers continue from where it stopped, and stopping anywhere gives the same answer. Outputs may arrive in any
/// order; the fold goes as far as there is no gap. It ends when readers begin, or when the budget refuses more memory.
pub(crate) struct RunningFold<M: Keep<K>, K, V> {
    state: Lock<State<M, K, V>>,
    /// Notified when a task has done its part of the fold.
    rested: Condvar,
}

struct State<M: Keep<K>, K, V> {
    buckets: Buckets,
    /// The first partition whose output is not folded yet.
    next: u32,
    fold: Phase<M::Kept, V, K>,
    /// Outputs that wait to be folded, by partition.
    waiting: ByMap<Vec<Run<M::Kept, V>>>,
    /// Buffers of folded outputs, for new map tasks.
    spare: Vec<Run<M::Kept, V>>,
}

enum Phase<T, V, K> {
    /// The fold can take more outputs.
    Open(Folded<T, V>),
    /// A task is folding.
    Busy,
    /// No more outputs are folded, and a task is cutting the result into buckets.
    Ending,
    /// The fold has ended.
    Ended(Ended<(K, V)>),
}

struct Ended<T> {
    /// The folded rows; `None` if the user's function panicked, or the aggregate failed, while it folded.
    folded: Option<Arc<Block<T>>>,
    /// The outputs that were not folded, by partition.
    apart: ByMap<Arc<Block<T>>>,
}

impl<M: Keep<K>, K: Key, V: Row> RunningFold<M, K, V> {
    pub(crate) fn new(buckets: Buckets, task: &TaskContext) -> Self {
        let fold = Phase::Open(Folded::new(task));
        let state = State { buckets, next: 0, fold, waiting: ByMap::default(), spare: Vec::new() };
        RunningFold { state: Lock::new(state), rested: Condvar::new() }
    }

    fn state(&self) -> Held<'_, State<M, K, V>> {
        self.state.lock()
    }

    /// Whether the folded rows are lost.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.state().fold, Phase::Ended(Ended { folded: None, .. }))
    }

    /// A buffer of folded rows, for other rows.
    pub(crate) fn spare(&self) -> Option<Vec<(M::Kept, V)>> {
        self.state().spare.pop().map(|run| run.rows)
    }

    /// Adds the output of a map task, and folds what can be folded now. Returns the block that stands for the output,
    /// or returns the output if the fold has ended. After an error of the aggregate, the fold is lost.
    pub(crate) fn add<A: Aggregate<V, State = V>>(
        self: &Arc<Self>,
        map: u32,
        output: Vec<Run<M::Kept, V>>,
        aggregate: &A,
        op: &Op,
        task: &TaskContext,
    ) -> Result<std::result::Result<BlockValue, Vec<Run<M::Kept, V>>>> {
        let mut state = self.state();
        // An earlier attempt at this task may have added the same output.
        let twice = match &state.fold {
            _ if map < state.next => Some(output),
            Phase::Ending | Phase::Ended(_) => return Ok(Err(output)),
            Phase::Open(_) | Phase::Busy => state.waiting.insert(map, output),
        };
        drop(state);
        drop(twice);
        while let Some((mut folded, output)) = self.begin(task) {
            let unless_done = LostUnlessDone(self);
            let mut spare = folded.add(output, aggregate, op)?;
            // The user's function has neither panicked nor failed.
            std::mem::forget(unless_done);
            let goes_on = folded.goes_on();
            let mut state = self.state();
            state.next += 1;
            spare.truncate(task.host().slots().saturating_sub(state.spare.len()));
            state.spare.append(&mut spare);
            if goes_on {
                state.fold = Phase::Open(folded);
                drop(state);
                self.rested.notify_all();
            } else {
                drop(state);
                self.end(Some(folded));
            }
        }
        Ok(Ok(BlockValue::new(LeftHere::Folded { fold: self.clone(), map })))
    }

    /// Takes out the fold and the next output, if both are there.
    fn begin(&self, task: &TaskContext) -> Option<(Folded<M::Kept, V>, Vec<Run<M::Kept, V>>)> {
        let mut state = self.state();
        let next = state.next;
        if !state.waiting.contains(next) || task.check().is_err() {
            return None;
        }
        let folded = state.take()?;
        Some((folded, state.waiting.remove(next)?))
    }

    /// Ends the fold that was taken out. The user's code hashes and drops rows here, so no lock is held.
    fn end(&self, folded: Option<Folded<M::Kept, V>>) {
        let mut state = self.state();
        state.fold = Phase::Ending;
        let (waiting, spare) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.spare));
        let buckets = state.buckets;
        drop(state);
        drop(spare);
        // If the rest panics, dropping `end` records that everything is lost.
        let mut end = Ends { of: self, as_what: Ended { folded: None, apart: ByMap::default() } };
        end.as_what.apart = waiting.map(|output| gather::<M, K, V>(output, buckets));
        end.as_what.folded = folded.map(|folded| gather::<M, K, V>(vec![folded.into_run()], buckets));
    }
}

/// Records how a fold ended, when this is dropped.
struct Ends<'a, M: Keep<K>, K: Key, V: Row> {
    of: &'a RunningFold<M, K, V>,
    as_what: Ended<(K, V)>,
}

impl<M: Keep<K>, K: Key, V: Row> Drop for Ends<'_, M, K, V> {
    fn drop(&mut self) {
        let Ended { folded, apart } = &mut self.as_what;
        let ended = Ended { folded: folded.take(), apart: std::mem::take(apart) };
        self.of.state().fold = Phase::Ended(ended);
        self.of.rested.notify_all();
    }
}

impl<M: Keep<K>, K: Key, V: Row> State<M, K, V> {
    /// Takes out the fold, if no task has it and it has not ended.
    fn take(&mut self) -> Option<Folded<M::Kept, V>> {
        match std::mem::replace(&mut self.fold, Phase::Busy) {
            Phase::Open(folded) => Some(folded),
            other => {
                self.fold = other;
                None
            }
        }
    }
}

/// Makes a block of runs: rows by bucket, in their order.
fn gather<M: Keep<K>, K: Key, V: Row>(output: Vec<Run<M::Kept, V>>, buckets: Buckets) -> Arc<Block<(K, V)>> {
    none_held("hashing rows");
    let mut chunks = Vec::with_capacity(output.len());
    for Run { rows, held } in output {
        let mut places = Vec::with_capacity(rows.len());
        let mut counts = vec![0; buckets.count() as usize];
        for (key, _) in &rows {
            let place = buckets.of(M::key_hash(key));
            places.push(place as u32);
            counts[place] += 1;
        }
        let mut gathered: Vec<Vec<(K, V)>> = Vec::with_capacity(counts.len());
        for count in counts {
            gathered.push(Vec::with_capacity(count));
        }
        for ((key, value), place) in rows.into_iter().zip(places) {
            gathered[place as usize].push((M::key(key), value));
        }
        chunks.push(Chunk::Gathered { buckets: gathered, _held: held });
    }
    Arc::new(Block { chunks })
}

/// Records that the fold is lost if a user's function panics, or the aggregate fails.
struct LostUnlessDone<'a, M: Keep<K>, K: Key, V: Row>(&'a RunningFold<M, K, V>);

impl<M: Keep<K>, K: Key, V: Row> Drop for LostUnlessDone<'_, M, K, V> {
    #[cold]
    fn drop(&mut self) {
        self.0.end(None);
    }
}

impl<M: Keep<K>, K: Key, V: Row> Folds<(K, V)> for RunningFold<M, K, V> {
    fn block(&self, map: u32) -> Result<Arc<Block<(K, V)>>> {
        let mut state = self.state();
        loop {
            state = match &state.fold {
                Phase::Ended(_) => break,
                // Readers begin after all map tasks, so only a redundant attempt or another reader can be working on
                // it.
                Phase::Busy | Phase::Ending => state.wait(&self.rested),
                Phase::Open(_) => {
                    let folded = state.take();
                    drop(state);
                    self.end(folded);
                    self.state()
                }
            };
        }
        let next = state.next;
        let Phase::Ended(Ended { folded, apart }) = &state.fold else {
            return Err(Error::Bug("a fold has not ended".into()));
        };
        if let Some(block) = apart.get(map) {
            return Ok(block.clone());
        }
        match folded {
            // The first map task's block has all folded rows; the other folded tasks' blocks are empty.
            Some(folded) if map == 0 && next > 0 => Ok(folded.clone()),
            Some(_) if map < next => Ok(Arc::new(Block { chunks: Vec::new() })),
            Some(_) => Err(never_added(map)),
            None => Err(Error::Bug("the fold is lost because a function failed".into())),
        }
    }
}

#[cold]
#[inline(never)]
fn never_added(map: u32) -> Error {
    Error::Bug(format!("the output of map task {map} was never added"))
}

/// The folded rows: keys in the order of their first arrival.
struct Folded<K, V> {
    table: Table<K, V>,
    /// Whether enough keys of the last output had been there before.
    helps: bool,
    size: RowSize<(K, V)>,
    held: Reservation,
}

impl<K: Key, V: Row> Folded<K, V> {
    fn new(task: &TaskContext) -> Self {
        let held = task.host().memory().reservation();
        Folded { table: Table::new(), helps: true, size: RowSize::new(), held }
    }

    /// Folds an output, and returns its empty buffers.
    fn add<A>(&mut self, mut output: Vec<Run<K, V>>, aggregate: &A, op: &Op) -> Result<Vec<Run<K, V>>>
    where
        A: Aggregate<V, State = V>,
    {
        let (mut batch, mut brought, before) = (Batch::default(), 0, self.table.len());
        for Run { rows, .. } in &mut output {
            brought += rows.len();
            if let Some(row) = rows.last() {
                self.size.sample(row);
            }
            let mut rows = rows.drain(..);
            while !rows.as_slice().is_empty() {
                let some = rows.len().min(TOGETHER);
                batch.look_up(&rows.as_slice()[..some], &self.table);
                batch.fold(rows.by_ref().take(some), &mut self.table, aggregate, op)?;
            }
        }
        self.helps = before == 0 || (self.table.len() - before) * 100 <= brought * NEW;
        Ok(output)
    }

    /// Counts the fold's memory, and returns whether it should take more outputs.
    fn goes_on(&mut self) -> bool {
        let bytes = self.table.bytes() + self.size.heap_of(self.table.len());
        let more = bytes.saturating_sub(self.held.bytes());
        let fits = self.held.hold(more);
        if !fits {
            // The fold needs no more memory than its outputs did, so it may insist.
            self.held.insist(more);
        }
        fits && self.helps
    }

    /// The folded rows as a run.
    fn into_run(mut self) -> Run<K, V> {
        let bytes = self.size.of(self.table.len());
        // Rows without the table's index take less memory.
        let _ = self.held.resize(bytes.min(self.held.bytes()));
        Run { rows: self.table.into_entries(), held: self.held }
    }
}
