//! The reading side of an aggregation: a pipe that yields each key once, with its result.

use super::aggregate::Aggregate;
use super::fold::Fold;
use super::read::{Opened, Side};
use crate::pipe::{BATCH, Cursor, Flow, Pipe, Step};
use crate::row::{Key, Row};
use crate::ship::{Ship, ship};
use crate::task::TaskContext;
use std::collections::VecDeque;
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
        let folds = (0..at_once).map(|_| Fold::new(self.aggregate.clone(), self.op, task, at_once)).collect();
        Ok(GroupedCursor {
            parts: 0..self.side.parts(),
            opened,
            ready: VecDeque::new(),
            folds,
            op: self.op,
            task: task.clone(),
        })
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
    /// The folded sub-partitions, in order.
    ready: VecDeque<Fold<K, V, A>>,
    /// Idle folds.
    folds: Vec<Fold<K, V, A>>,
    op: Op,
    task: TaskContext,
}

impl<K: Key, V: Row, A: Aggregate<V>> GroupedCursor<K, V, A> {
    /// Folds the next sub-partitions, one with each idle fold. Returns false if none is left.
    fn fold_next(&mut self) -> Result<bool> {
        let parts: Vec<u32> = self.parts.by_ref().take(self.folds.len()).collect();
        let opened = &self.opened;
        let read = |fold: &mut Fold<K, V, A>, part| -> Result<()> {
            let mut rows = opened.rows(part..part + 1)?;
            while let Some(rows) = rows.next(BATCH)? {
                fold.add(rows)?;
            }
            fold.end()
        };
        let mut folds: Vec<_> = self.folds.drain(..parts.len()).collect();
        match &mut folds[..] {
            [] => return Ok(false),
            [fold] => read(fold, parts[0])?,
            several => {
                // `in_parallel` gives out shared references; each fold is taken by one piece of work.
                let several: Vec<_> = several.iter_mut().map(|fold| Lock::new(Some(fold))).collect();
                self.task.host().in_parallel(self.op, self.task.place(), parts.len(), &|at| {
                    let fold = several[at].lock().take();
                    fold.map_or(Ok(()), |fold| read(fold, parts[at]))
                })?;
            }
        }
        self.ready.extend(folds);
        Ok(true)
    }
}

impl<K: Key, V: Row, A: Aggregate<V>> Cursor for GroupedCursor<K, V, A> {
    type Item = (K, A::Out);

    fn advance<S: FnMut(Self::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let Some(fold) = self.ready.front_mut() else {
            return Ok(if self.fold_next()? { Step::More } else { Step::Done });
        };
        for (key, state) in fold.out.by_ref().take(budget) {
            if sink((key, fold.aggregate.finish(state))).is_break() {
                return Ok(Step::Done);
            }
        }
        if fold.out.as_slice().is_empty() && !fold.read_late()? {
            self.folds.extend(self.ready.pop_front());
        }
        Ok(Step::More)
    }
}
