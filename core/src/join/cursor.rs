//! One partition of a join while it is read, in memory or with a right side that does not fit.

use super::kinds::Kind;
use super::run::{RUN, Run};
use super::table::{Built, Place};
use crate::exchange::{Opened, Rows, Side, Spool, Spooled, floor, hash_of};
use crate::pipe::{BATCH, Cursor, Flow, Step};
use crate::row::{Key, Row, RowSize};
use crate::task::TaskContext;
use hashbrown::HashTable;
use std::marker::PhantomData;
use std::ops::Range;
use tryworks_base::{Result, codec};

/// One partition of a join. For each sub-partition, it puts the right side into a table and looks up the left rows in
/// their order. So the order is that of the left side, then that of the right.
pub struct JoinCursor<J, K, V, W> {
    kind: PhantomData<fn() -> J>,
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
    /// The right side is in a table, and the left side is being read. If the sink stopped among the matches of the next
    /// left row, the place is that of its next match.
    Table { built: Built<K, W>, left: Rows<(K, V)>, place: Option<Place> },
    /// The right side does not fit, so it is read again for each run of left rows.
    Runs { left: Rows<(K, V)>, run: Run<K, V>, part: u32, fit: usize, meeting: Option<Box<Meeting<K, W>>> },
}

/// What the next rows of a run meet, if the sink stopped among the matches.
enum Meeting<K, W> {
    /// The rows before `end` meet what is in a table. The place is as in [`At::Table`].
    Table { built: Built<K, W>, end: usize, place: Option<Place> },
    /// One row meets the rest of the right side, and has met a match or not.
    Rows { right: Rows<(K, W)>, met: bool },
}

/// A table of the right rows; as an error, the unfinished table when memory was used up.
type Attempt<K, W> = std::result::Result<Built<K, W>, Built<K, W>>;

impl<J: Kind<V, W>, K: Key, V: Row, W: Row> JoinCursor<J, K, V, W> {
    pub(super) fn open(left: &Side<(K, V)>, right: &Side<(K, W)>, partition: u32, task: &TaskContext) -> Result<Self> {
        let (own, others) = (left.parts(), right.parts());
        // A side that is read in place has no sub-partitions, so the other side is read as a whole, too.
        let parts = if own == others { own } else { 1 };
        Ok(JoinCursor {
            kind: PhantomData,
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

    /// Builds a table of the rows whose hashes are `wanted`, if it fits into memory. If one match counts, a key has one
    /// row.
    fn build(&self, rows: &mut Rows<(K, W)>, wanted: impl Fn(u64) -> bool) -> Result<Attempt<K, W>> {
        let mut built = Built::new(&self.task);
        let mut size = RowSize::new();
        while let Some(rows) = rows.next(BATCH)? {
            self.task.check()?;
            rows.last().into_iter().for_each(|row| size.sample(row));
            for (key, value) in rows {
                let hash = hash_of(key);
                if wanted(hash) && !(J::ONCE && built.has(hash, key)) {
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

    /// Begins to join the next left rows of a run, at most `fit`, with all of the right side. If their matches do not
    /// fit, `fit` is halved for the next call. A single left row needs no table.
    fn begin(&self, run: &Run<K, V>, part: u32, fit: &mut usize) -> Result<Option<Meeting<K, W>>> {
        let left = &run.rest()[..run.rest().len().min(*fit)];
        // Comparing hashes is enough here: right rows of another key with the same hash match no left row later.
        let mut wanted = HashTable::with_capacity(left.len());
        for hash in left.iter().map(|(key, _)| hash_of(key)) {
            wanted.entry(hash, |other| *other == hash, |other| *other).or_insert(hash);
        }
        let mut rows = self.right_rows(part)?;
        match self.build(&mut rows, |hash| wanted.find(hash, |other| *other == hash).is_some())? {
            Ok(built) => {
                *fit = (*fit * 2).min(RUN);
                Ok(Some(Meeting::Table { built, end: run.met + left.len(), place: None }))
            }
            Err(_) if left.len() > 1 => {
                *fit = left.len() / 2;
                Ok(None)
            }
            Err(_) => Ok(Some(Meeting::Rows { right: self.right_rows(part)?, met: false })),
        }
    }

    /// Pushes what the next left rows of a run meet into `sink`. Returns what is left if the sink stops.
    #[inline(never)]
    fn go_on<S: FnMut((K, J::Out)) -> Flow>(
        &self,
        run: &mut Run<K, V>,
        meeting: Meeting<K, W>,
        sink: &mut S,
    ) -> Result<Option<Meeting<K, W>>> {
        match meeting {
            Meeting::Table { built, end, mut place } => {
                run.met += meet::<J, _, _, _>(&run.rows[run.met..end], &built, &mut place, &self.task, sink)?;
                Ok((run.met < end).then_some(Meeting::Table { built, end, place }))
            }
            Meeting::Rows { mut right, mut met } => {
                let (key, value) = &run.rows[run.met];
                while let Some(rows) = right.next(BATCH)? {
                    self.task.check()?;
                    for (at, (_, other)) in rows.iter().enumerate().filter(|(_, (other, _))| other == key) {
                        met = true;
                        let stopped = J::met(value, other).is_some_and(|out| sink((key.clone(), out)).is_break());
                        if J::ONCE {
                            run.met += 1;
                            return Ok(None);
                        }
                        if stopped {
                            let left = rows.len() - at - 1;
                            right.give_back(left);
                            return Ok(Some(Meeting::Rows { right, met }));
                        }
                    }
                }
                run.met += 1;
                if !met && let Some(out) = J::alone(value) {
                    // If the sink stops here, nothing of this row is left.
                    let _ = sink((key.clone(), out));
                }
                Ok(None)
            }
        }
    }
}

/// After how many left rows to check whether the task was cancelled.
const CHECK: usize = 64;

/// Pushes what comes out for left rows and their matches into `sink`. Returns how many left rows are done. If the sink
/// stopped among the matches of the row after them, `place` is that of its next match, and the next call needs it.
#[inline(always)]
fn meet<J: Kind<V, W>, K: Key, V: Row, W: Row>(
    left: &[(K, V)],
    built: &Built<K, W>,
    place: &mut Option<Place>,
    task: &TaskContext,
    sink: &mut impl FnMut((K, J::Out)) -> Flow,
) -> Result<usize> {
    let mut stopped = place.take();
    for (done, (key, value)) in left.iter().enumerate() {
        // A row may have very many matches.
        if done.is_multiple_of(CHECK) {
            task.check()?;
        }
        let mut met = stopped.is_some();
        let mut next = stopped.take().unwrap_or_else(|| built.first(key));
        while let Some(other) = built.next(&mut next) {
            met = true;
            if J::met(value, other).is_some_and(|out| sink((key.clone(), out)).is_break()) {
                *place = Some(next);
                return Ok(done);
            }
        }
        if !met && J::alone(value).is_some_and(|out| sink((key.clone(), out)).is_break()) {
            return Ok(done + 1);
        }
    }
    Ok(left.len())
}

impl<J: Kind<V, W>, K: Key, V: Row, W: Row> Cursor for JoinCursor<J, K, V, W> {
    type Item = (K, J::Out);

    fn advance<S: FnMut(Self::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        match std::mem::replace(&mut self.at, At::Begin) {
            At::Begin => {
                let Some(part) = self.parts.next() else { return Ok(Step::Done) };
                let left = self.left_rows(part)?;
                let mut right = self.right_rows(part)?;
                self.at = match self.build(&mut right, |_| true)? {
                    Ok(built) => At::Table { built, left, place: None },
                    Err(built) => {
                        // Rows that are read in place are computed while they are read. They are spooled, so that each
                        // run does not compute them again. Such a side has only one part.
                        if matches!(right, Rows::Direct { .. }) {
                            self.right = Opened::Spooled(self.put_aside(built, &mut right)?);
                        }
                        At::Runs { left, run: Run::new(&self.task), part, fit: RUN, meeting: None }
                    }
                };
            }
            At::Table { built, mut left, mut place } => {
                if let Some(rows) = left.next(budget)? {
                    let not_met = rows.len() - meet::<J, _, _, _>(rows, &built, &mut place, &self.task, sink)?;
                    left.give_back(not_met);
                    self.at = At::Table { built, left, place };
                }
            }
            At::Runs { mut left, mut run, part, mut fit, mut meeting } => {
                if !run.rest().is_empty() || run.gather(&mut left, &self.task)? {
                    if meeting.is_none() {
                        meeting = self.begin(&run, part, &mut fit)?.map(Box::new);
                    }
                    if let Some(begun) = meeting.take() {
                        meeting = self.go_on(&mut run, *begun, sink)?.map(Box::new);
                    }
                    self.at = At::Runs { left, run, part, fit, meeting };
                }
            }
        }
        Ok(Step::More)
    }
}
