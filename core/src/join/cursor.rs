//! One partition of a join while it is read, in memory or with a right side that does not fit.

use super::run::{RUN, Run};
use super::table::Built;
use crate::exchange::{Opened, Rows, Side, Spool, Spooled, floor, hash_of};
use crate::pipe::{BATCH, Cursor, Flow, Step};
use crate::row::{Key, Row, RowSize};
use crate::task::TaskContext;
use hashbrown::HashTable;
use std::ops::Range;
use tryworks_base::{Result, codec};

/// One partition of a join. For each sub-partition, it puts the right side into a table and looks up the left rows in
/// their order. So the order is that of the left side, then that of the right.
pub struct JoinCursor<K, V, W> {
    left: Opened<(K, V)>,
    right: Opened<(K, W)>,
    parts: Range<u32>,
    widths: (u32, u32),
    at: At<K, V, W>,
    task: TaskContext,
}

enum At<K, V, W> {
    /// Before a sub-partition.
    Begin,
    /// The right side is in a table, and the left side is being read.
    Table { built: Built<K, W>, left: Rows<(K, V)> },
    /// The right side does not fit, so it is read again for each run of left rows.
    Runs { left: Rows<(K, V)>, run: Run<K, V>, part: u32, fit: usize },
}

/// A table of the right rows; as an error, the unfinished table when memory was used up.
type Attempt<K, W> = std::result::Result<Built<K, W>, Built<K, W>>;

impl<K: Key, V: Row, W: Row> JoinCursor<K, V, W> {
    pub(super) fn open(left: &Side<(K, V)>, right: &Side<(K, W)>, partition: u32, task: &TaskContext) -> Result<Self> {
        let (own, others) = (left.parts(), right.parts());
        // A side that is read in place has no sub-partitions, so the other side is read as a whole, too.
        let parts = if own == others { own } else { 1 };
        Ok(JoinCursor {
            left: left.open(partition, task)?,
            right: right.open(partition, task)?,
            parts: 0..parts,
            widths: (own / parts, others / parts),
            at: At::Begin,
            task: task.clone(),
        })
    }

    fn left_rows(&self, part: u32) -> Result<Rows<(K, V)>> {
        self.left.rows(part * self.widths.0..(part + 1) * self.widths.0)
    }

    fn right_rows(&self, part: u32) -> Result<Rows<(K, W)>> {
        self.right.rows(part * self.widths.1..(part + 1) * self.widths.1)
    }

    /// Builds a table of the rows whose hashes are `wanted`, if it fits into memory.
    fn build(&self, rows: &mut Rows<(K, W)>, wanted: impl Fn(u64) -> bool) -> Result<Attempt<K, W>> {
        let mut built = Built::new(&self.task);
        let mut size = RowSize::new();
        while let Some(rows) = rows.next(BATCH)? {
            self.task.check()?;
            rows.last().into_iter().for_each(|row| size.sample(row));
            for (key, value) in rows {
                let hash = hash_of(key);
                if wanted(hash) {
                    built.add(hash, key, value);
                }
            }
            if !built.fits(&size, floor(&self.task)) {
                return Ok(Err(built));
            }
        }
        Ok(Ok(built))
    }

    /// Spools the right side: the rows of an unfinished table, then the rest. The rows of each key stay in their order.
    fn put_aside(&self, built: Built<K, W>, rest: &mut Rows<(K, W)>) -> Result<Spooled<(K, W)>> {
        let mut spool = Spool::new(&self.task)?;
        for (key, chain) in built.entries() {
            for value in built.chain(*chain) {
                codec::encode(key, spool.row())?;
                codec::encode(value, spool.row())?;
                spool.added()?;
            }
        }
        drop(built);
        while let Some(rows) = rest.next(BATCH)? {
            self.task.check()?;
            for row in rows {
                codec::encode(row, spool.row())?;
                spool.added()?;
            }
        }
        spool.finish()
    }

    /// Joins the next left rows of a run, at most `fit`, with all of the right side. If their matches do not fit, `fit`
    /// is halved for the next call. A single left row needs no table.
    fn join_run<S: FnMut((K, (V, W))) -> Flow>(
        &self,
        run: &mut Run<K, V>,
        part: u32,
        fit: &mut usize,
        sink: &mut S,
    ) -> Result<()> {
        let left = &run.rest()[..run.rest().len().min(*fit)];
        // Comparing hashes is enough here: right rows of another key with the same hash match no left row later.
        let mut wanted = HashTable::with_capacity(left.len());
        for hash in left.iter().map(|(key, _)| hash_of(key)) {
            wanted.entry(hash, |other| *other == hash, |other| *other).or_insert(hash);
        }
        let mut rows = self.right_rows(part)?;
        match self.build(&mut rows, |hash| wanted.find(hash, |other| *other == hash).is_some())? {
            Ok(built) => {
                let _ = meet(left, &built, sink);
                run.met += left.len();
                *fit = (*fit * 2).min(RUN);
            }
            Err(_) if left.len() > 1 => *fit = left.len() / 2,
            Err(_) => {
                let (key, value) = &left[0];
                let mut rows = self.right_rows(part)?;
                while let Some(rows) = rows.next(BATCH)? {
                    self.task.check()?;
                    for (_, other) in rows.iter().filter(|(other, _)| other == key) {
                        if sink((key.clone(), (value.clone(), other.clone()))).is_break() {
                            return Ok(());
                        }
                    }
                }
                run.met += 1;
            }
        }
        Ok(())
    }
}

/// Pushes all pairs of left rows and their matches into `sink`.
#[inline]
fn meet<K: Key, V: Row, W: Row>(
    left: &[(K, V)],
    built: &Built<K, W>,
    sink: &mut impl FnMut((K, (V, W))) -> Flow,
) -> Flow {
    for (key, value) in left {
        for other in built.of(key) {
            sink((key.clone(), (value.clone(), other.clone())))?;
        }
    }
    Flow::Continue(())
}

impl<K: Key, V: Row, W: Row> Cursor for JoinCursor<K, V, W> {
    type Item = (K, (V, W));

    fn advance<S: FnMut(Self::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        match std::mem::replace(&mut self.at, At::Begin) {
            At::Begin => {
                let Some(part) = self.parts.next() else { return Ok(Step::Done) };
                let left = self.left_rows(part)?;
                let mut right = self.right_rows(part)?;
                self.at = match self.build(&mut right, |_| true)? {
                    Ok(built) => At::Table { built, left },
                    Err(built) => {
                        // Rows that are read in place are computed while they are read. They are spooled, so that each
                        // run does not compute them again. Such a side has only one part.
                        if matches!(right, Rows::Direct { .. }) {
                            self.right = Opened::Spooled(self.put_aside(built, &mut right)?);
                        }
                        At::Runs { left, run: Run::new(&self.task), part, fit: RUN }
                    }
                };
            }
            At::Table { built, mut left } => {
                if let Some(rows) = left.next(budget)? {
                    let _ = meet(rows, &built, sink);
                    self.at = At::Table { built, left };
                }
            }
            At::Runs { mut left, mut run, part, mut fit } => {
                if !run.rest().is_empty() || run.gather(&mut left, &self.task)? {
                    self.join_run(&mut run, part, &mut fit, sink)?;
                    self.at = At::Runs { left, run, part, fit };
                }
            }
        }
        Ok(Step::More)
    }
}
