//! A left fold by key within a budget, which goes on in a spill file when there is no room, with the same answer.

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

/// A fold by key within a budget. When there is no room for more, the keys that came last leave, with what was folded
/// for them, for a spill file; values of keys that are not in the table follow them there, in order. The file is
/// then folded in the same way. So each key's values are folded in the same order as with any amount of memory, and
/// the keys come out in the order of their first arrival.
pub(crate) struct Fold<K, V, A: Aggregate<V>> {
    pub(crate) aggregate: A,
    op: Op,
    task: TaskContext,
    table: Table<K, A::State>,
    /// The keys that left the table at a time: those of the last time arrived first.
    fronts: Vec<Spooled<Late<K, A::State, V>>>,
    /// The values, in order, of keys that are not in the table, since the first keys left it.
    tail: Option<Spool<Late<K, A::State, V>>>,
    size: RowSize<(K, V)>,
    /// Values that were folded into what is in the table now, for states that grow.
    values: usize,
    working: Reservation,
    /// How many folds of the task share its part of the budget.
    sharing: usize,
    /// What was folded, at the end.
    pub(crate) out: std::vec::IntoIter<(K, A::State)>,
    /// What left the table and is to be folded after that, in this order.
    late: Vec<Spooled<Late<K, A::State, V>>>,
}

/// What leaves a table that is full.
#[derive(Clone, Serialize, Deserialize)]
enum Late<K, S, V> {
    Folded(K, S),
    Value(K, V),
}

/// What one key, which cannot be divided, may always have: its task's part of what blocks leave.
fn undivided(task: &TaskContext) -> u64 {
    4 * floor(task)
}

/// What a running task may always have: below this it does not spill, whatever others hold.
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

    /// Folds what left the table before; false if nothing did.
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
                    // It was added to the table because its equal was not found there.
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
            let keep = keys / 2;
            let mut front = Spool::new(&self.task)?;
            for (key, state) in self.table.split_off(keep) {
                front.push(&Late::<K, A::State, V>::Folded(key, state))?;
            }
            self.values = self.values * keep / keys;
            self.fronts.push(front.finish()?);
        }
    }

    /// Ends: what was folded is in `out`, what left in `late`.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.late = self.fronts.drain(..).rev().collect();
        if let Some(tail) = self.tail.take() {
            self.late.push(tail.finish()?);
        }
        self.values = 0;
        let mut rows = self.table.take();
        if self.task.checks_rows() {
            // With less memory they would have left the table.
            rows.iter_mut().try_for_each(|row| codec::prove_row(row, true))?;
        }
        self.out = rows.into_iter();
        Ok(())
    }

    /// Puts off a row whose key is not in the table; gives it back if it has a place there.
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
