//! A left fold by key within a memory budget. It continues in spill files when memory is short, with the same answer.

use super::aggregate::Aggregate;
use super::hash::hash_of;
use super::spool::{Spool, Spooled};
use super::table::Table;
use super::write::LOOK;
use crate::row::{Key, Row, RowSize, show};
use crate::task::TaskContext;
use serde::{Deserialize, Serialize};
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Op, Result, codec};

/// A fold by key within a memory budget. When the budget refuses more, the keys that arrived last go to a spill file,
/// with their states. Later values of keys that are not in the table go to another file, in order. These files are then
/// folded in the same way. So with any amount of memory, each key's values are folded in the same order, and keys come
/// out in the order of their first arrival.
pub(crate) struct Fold<K, V, A: Aggregate<V>> {
    pub(crate) aggregate: A,
    op: Op,
    task: TaskContext,
    table: Table<K, A::State>,
    /// The keys that left the table, one file for each time. Keys of a later file arrived earlier.
    fronts: Vec<Spooled<Late<K, A::State, V>>>,
    /// The values of keys that are not in the table, in order, since keys left it for the first time.
    tail: Option<Spool<Late<K, A::State, V>>>,
    size: RowSize<(K, V)>,
    /// How many values the states in the table contain, for states that grow.
    values: usize,
    working: Reservation,
    /// How many folds of the task share its part of the budget.
    sharing: usize,
    /// The results, after [`end`](Fold::end).
    pub(crate) out: std::vec::IntoIter<(K, A::State)>,
    /// The files to be folded after that, in this order.
    late: Vec<Spooled<Late<K, A::State, V>>>,
}

/// A row of a spill file.
#[derive(Clone, Serialize, Deserialize)]
enum Late<K, S, V> {
    Folded(K, S),
    Value(K, V),
}

/// The memory that a single key is guaranteed. It is larger than the floor because one key cannot be divided: the
/// task's share of the half of the budget that blocks cannot take.
fn undivided(task: &TaskContext) -> u64 {
    4 * floor(task)
}

/// The memory that a running task is guaranteed: below this it does not spill, whatever other tasks hold.
pub(crate) fn floor(task: &TaskContext) -> u64 {
    let host = task.host();
    host.memory().limit() / (8 * host.slots() as u64)
}

impl<K: Key, V: Row, A: Aggregate<V>> Fold<K, V, A> {
    pub(crate) fn new(aggregate: A, op: Op, task: &TaskContext, sharing: usize) -> Self {
        Fold {
            sharing,
            out: Vec::new().into_iter(),
            late: Vec::new(),
            aggregate,
            op,
            table: Table::new(),
            fronts: Vec::new(),
            tail: None,
            size: RowSize::new(),
            values: 0,
            working: task.host().memory().reservation(),
            task: task.clone(),
        }
    }

    /// Folds a slice of rows.
    pub(crate) fn add(&mut self, rows: &[(K, V)]) -> Result<()> {
        self.task.check()?;
        let Some(last) = rows.last() else { return Ok(()) };
        self.size.sample(last);
        for (key, value) in rows {
            let hash = hash_of(key);
            match self.table.get_mut(hash, key) {
                Some(state) => self.aggregate.fold(&self.op, state, value.clone()),
                None if self.fronts.is_empty() => {
                    self.table.insert(hash, key.clone(), self.aggregate.create(&self.op, value.clone()));
                }
                None => {
                    self.put_off(Late::Value(key.clone(), value.clone()))?;
                    continue;
                }
            }
            self.values += 1;
        }
        self.make_room()
    }

    /// Folds the rows that left the table before. Returns false if there were none.
    pub(crate) fn read_late(&mut self) -> Result<bool> {
        let late = std::mem::take(&mut self.late);
        late.iter().try_for_each(|late| self.read_spooled(late))?;
        self.end()?;
        Ok(!late.is_empty())
    }

    fn read_spooled(&mut self, late: &Spooled<Late<K, A::State, V>>) -> Result<()> {
        let mut reading = late.rows();
        loop {
            self.task.check()?;
            let rows = reading.take()?;
            if rows.as_slice().is_empty() {
                return Ok(());
            }
            for row in rows {
                let key = match &row {
                    Late::Folded(key, _) | Late::Value(key, _) => key,
                };
                let hash = hash_of(key);
                match (self.table.get_mut(hash, key), row) {
                    (Some(state), Late::Value(_, value)) => self.aggregate.fold(&self.op, state, value),
                    (None, row) => match self.put_off(row)? {
                        None => continue,
                        Some(Late::Folded(key, state)) => self.table.insert(hash, key, state),
                        Some(Late::Value(key, value)) => {
                            self.table.insert(hash, key, self.aggregate.create(&self.op, value));
                        }
                    },
                    // This key left the table with a state, so no equal key can be in the table unless `Eq` and `Hash`
                    // disagree.
                    (Some(_), Late::Folded(..)) => return Err(Error::not_equal::<K>(&self.op)),
                }
                self.values += 1;
            }
            self.make_room()?;
        }
    }

    fn bytes(&self) -> u64 {
        let rows = if A::GROWS { self.values } else { self.table.len() };
        self.table.bytes() + self.size.of(rows) * if A::GROWS { 3 } else { 1 } / 2
    }

    /// Reserves memory for the table, and lets keys leave until the budget grants it. A table below the floor stays,
    /// even if the budget refuses, so that every task makes progress.
    fn make_room(&mut self) -> Result<()> {
        if self.table.unshrunk() >= LOOK && self.task.host().memory().is_over() {
            self.table.shrink();
        }
        loop {
            let bytes = self.bytes();
            let floor = floor(&self.task) / self.sharing as u64;
            if bytes <= self.working.bytes() || self.working.resize(bytes) {
                return Ok(());
            }
            if bytes <= floor {
                self.working.insist(bytes - self.working.bytes());
                return Ok(());
            }
            let keys = self.table.len();
            if keys == 1 && (!A::GROWS || bytes <= undivided(&self.task)) {
                self.working.insist(bytes - self.working.bytes());
                return Ok(());
            }
            if keys == 1 {
                let key = show(&self.table.entries()[0].0);
                return Err(Error::limit(
                    "memory",
                    self.task.host().memory().limit(),
                    format!(
                        "`{}` at {}: the values of the one key {key} take {bytes} bytes, and one key cannot be divided",
                        self.op.name, self.op.site
                    ),
                    "a higher limit, or an aggregation that does not keep every value (`reduce_by_key`)",
                ));
            }
            // The keys that arrived last leave, so that those that stay come out first, in order of arrival.
            let keep = keys / 2;
            let mut front = Spool::new(&self.task)?;
            for (key, state) in self.table.split_off(keep) {
                front.push(&Late::<K, A::State, V>::Folded(key, state))?;
            }
            self.values = self.values * keep / keys;
            self.fronts.push(front.finish()?);
        }
    }

    /// Ends a pass: the results are in `out`, and the files that are still to be folded in `late`.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.late = self.fronts.drain(..).rev().collect();
        if let Some(tail) = self.tail.take() {
            self.late.push(tail.finish()?);
        }
        self.values = 0;
        let mut rows = self.table.take();
        if self.task.checks_rows() {
            // With less memory these rows would have gone through a file.
            rows.iter_mut().try_for_each(|row| codec::prove_row(row, true))?;
        }
        self.out = rows.into_iter();
        Ok(())
    }

    /// Writes a row whose key is not in the table to the tail. Returns the row if no key has left the table, since then
    /// it belongs there.
    fn put_off(&mut self, row: Late<K, A::State, V>) -> Result<Option<Late<K, A::State, V>>> {
        if self.fronts.is_empty() {
            return Ok(Some(row));
        }
        if self.tail.is_none() {
            self.tail = Some(Spool::new(&self.task)?);
        }
        self.tail.as_mut().map_or(Ok(()), |tail| tail.push(&row)).map(|()| None)
    }
}
