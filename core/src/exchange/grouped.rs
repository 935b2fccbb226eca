//! The reading side of an aggregation: a pipe that yields each key once, with its result.

use super::aggregate::Aggregate;
use super::fold::Fold;
use super::read::{Opened, Side};
use crate::pipe::{BATCH, Cursor, Flow, Pipe, Step};
use crate::row::{Key, Row};
use crate::ship::{Ship, ship};
use crate::task::TaskContext;
use std::ops::Range;
use tryworks_base::lock::Lock;
use tryworks_base::{Op, Result};

/// The pipe that reads pairs and yields each key once, with its result. Keys are in the order of the hash
/// sub-partitions, then of first arrival.
pub struct Grouped<K, V, A> {
    side: Side<(K, V)>,
    aggregate: A,
    op: Op,
}

impl<K: Clone, V: Clone, A: Clone> Clone for Grouped<K, V, A> {
    fn clone(&self) -> Self {
        Grouped { side: self.side.clone(), aggregate: self.aggregate.clone(), op: self.op }
    }
}

impl<K, V, A> Grouped<K, V, A> {
    pub(crate) fn new(side: Side<(K, V)>, aggregate: A, op: Op) -> Self {
        Grouped { side, aggregate, op }
    }
}

ship!([K: Send + 'static, V: Send + 'static, A: Ship] Grouped<K, V, A> { side: ship, aggregate: ship, op: value });

impl<K: Key, V: Row, A: Aggregate<V>> Pipe for Grouped<K, V, A> {
    type Item = (K, A::Out);
    type Cursor = GroupedCursor<K, V, A>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        self.aggregate.ready(&self.op, task.place())?;
        let opened = self.side.open(partition, task)?;
        let at_once = if opened.rows_hint() < LARGE { 1 } else { task.host().slots() };
        let mut folds = Vec::with_capacity(at_once);
        for _ in 0..at_once {
            folds.push(Fold::new(self.aggregate.clone(), self.op, task, at_once));
        }
        Ok(GroupedCursor { parts: 0..self.side.parts(), opened, ready: 0..0, folds, op: self.op, task: task.clone() })
    }
}

/// Partitions with at least this many rows are split: all cores fold their sub-partitions at once. Without that, a
/// partition that is much larger than the others would keep one core busy while the rest wait. The result is the same.
const LARGE: u64 = 1 << 20;

/// One partition of a grouped dataset.
pub struct GroupedCursor<K: Key, V: Row, A: Aggregate<V>> {
    opened: Opened<(K, V)>,
    /// The sub-partitions that are still to be folded.
    parts: Range<u32>,
    folds: Vec<Fold<K, V, A>>,
    /// The range of the folds that hold a folded sub-partition, in order. The others are idle.
    ready: Range<usize>,
    op: Op,
    task: TaskContext,
}

impl<K: Key, V: Row, A: Aggregate<V>> GroupedCursor<K, V, A> {
    /// Folds the next sub-partitions, one with each idle fold. Returns false if none is left.
    fn fold_next(&mut self) -> Result<bool> {
        let first = self.parts.start;
        let count = self.parts.len().min(self.folds.len());
        self.parts.start += count as u32;
        let opened = &self.opened;
        let read = |fold: &mut Fold<K, V, A>, part| -> Result<()> {
            let mut rows = opened.rows(part..part + 1)?;
            while let Some(rows) = rows.next(BATCH)? {
                fold.add(rows)?;
            }
            fold.end()
        };
        match &mut self.folds[..count] {
            [] => return Ok(false),
            [fold] => read(fold, first)?,
            several => {
                let mut folds = Vec::with_capacity(count);
                for fold in several {
                    // `in_parallel` gives out shared references; each fold is taken by one piece of work.
                    folds.push(Lock::new(Some(fold)));
                }
                self.task.host().in_parallel(self.op, self.task.place(), count, &|at| {
                    let fold = folds[at].lock().take();
                    fold.map_or(Ok(()), |fold| read(fold, first + at as u32))
                })?;
            }
        }
        self.ready = 0..count;
        Ok(true)
    }
}

impl<K: Key, V: Row, A: Aggregate<V>> Cursor for GroupedCursor<K, V, A> {
    type Item = (K, A::Out);
    const EXPANDS: bool = false;

    fn advance<S: FnMut(Self::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        if self.ready.is_empty() {
            return Ok(if self.fold_next()? { Step::More } else { Step::Done });
        }
        let fold = &mut self.folds[self.ready.start];
        for (key, state) in fold.out.by_ref().take(budget) {
            if sink((key, fold.aggregate.finish(state))).is_break() {
                return Ok(Step::More);
            }
        }
        if fold.out.as_slice().is_empty() && !fold.read_late()? {
            self.ready.start += 1;
        }
        Ok(Step::More)
    }
}
