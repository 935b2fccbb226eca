//! A left fold by key within a memory budget. It continues in spill files when memory is short, with the same answer.

use super::aggregate::Aggregate;
use super::hash::hash_of;
use super::spool::{Spool, Spoolable, Spooled};
use super::table::Table;
use super::write::is_too_much;
use crate::row::{Key, Row, RowSize, show};
use crate::task::TaskContext;
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
    tail: Option<Spool>,
    size: RowSize<(K, V)>,
    /// How many values the states in the table contain, for states that grow.
    values: usize,
    /// The resident memory of the process when entries were shrunk last.
    resident: u64,
    working: Reservation,
    /// How many folds of the task share its part of the budget.
    sharing: usize,
    /// The results, after [`end`](Fold::end).
    pub(crate) out: std::vec::IntoIter<(K, A::State)>,
    /// The files to be folded after that, in this order.
    late: Vec<Spooled<Late<K, A::State, V>>>,
}

/// A row that does not fit in the table and goes to a spill file. It is written as a flag and a pair, so that it needs no
/// serializer besides those of the rows.
enum Late<K, S, V> {
    Folded((K, S)),
    Value((K, V)),
}

impl<K: Key, S: Row, V: Row> Late<K, S, V> {
    fn write(&self, to: &mut Spool) -> Result<()> {
        match self {
            Late::Folded(entry) => Self::write_one(true, entry, to),
            Late::Value(row) => Self::write_one(false, row, to),
        }
    }

    fn write_one<T: Row>(folded: bool, row: &T, to: &mut Spool) -> Result<()> {
        to.row().push(folded.into());
        codec::encode(row, to.row())?;
        to.added()
    }
}

impl<K: Key, S: Row, V: Row> Spoolable for Late<K, S, V> {
    fn read(bytes: &[u8]) -> Result<(Self, usize)> {
        let (folded, rest) = which(bytes)?;
        let (late, taken) = if folded {
            let (entry, taken) = codec::decode(rest)?;
            (Late::Folded(entry), taken)
        } else {
            let (row, taken) = codec::decode(rest)?;
            (Late::Value(row), taken)
        };
        Ok((late, taken + 1))
    }
}

/// Reads the flag: whether a folded entry follows, or else a row.
fn which(bytes: &[u8]) -> Result<(bool, &[u8])> {
    let (which, taken) = codec::decode(bytes)?;
    Ok((which, &bytes[taken..]))
}

/// The error if the values of one key do not fit in memory.
#[cold]
fn undividable(key: &str, bytes: u64, op: &Op, task: &TaskContext) -> Error {
    Error::limit(
        "memory",
        task.host().memory().limit(),
        format!(
            "`{}` at {}: the values of the one key {key} take {bytes} bytes, and one key cannot be divided",
            op.name, op.site
        ),
        "a higher limit, or an aggregation that does not keep every value (`reduce_by_key`)",
    )
}

/// The memory that a single key, or the heads of a merge, are guaranteed: the task's share of the half of the budget
/// that blocks cannot take. It is larger than the floor because one key cannot be divided, and because a merge of fewer
/// runs writes all rows once more.
pub(crate) fn undivided(task: &TaskContext) -> u64 {
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
            resident: task.host().memory().resident(),
            working: task.host().memory().reservation(),
            task: task.clone(),
        }
    }

    /// Folds a slice of rows.
    pub(crate) fn add(&mut self, rows: &[(K, V)]) -> Result<()> {
        self.task.check()?;
        let Some(last) = rows.last() else { return Ok(()) };
        self.size.sample(last);
        for row in rows {
            let (key, value) = row;
            let hash = hash_of(key);
            match self.table.get_mut(hash, key) {
                Some(state) => self.aggregate.fold(&self.op, state, value.clone())?,
                None if self.fronts.is_empty() => {
                    self.table.insert(hash, key.clone(), self.aggregate.create(&self.op, value.clone()));
                }
                None => {
                    Late::<K, A::State, V>::write_one(false, row, self.tail()?)?;
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
        for late in &late {
            self.read_spooled(late)?;
        }
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
                    Late::Folded((key, _)) | Late::Value((key, _)) => key,
                };
                let hash = hash_of(key);
                match (self.table.get_mut(hash, key), row) {
                    (Some(state), Late::Value((_, value))) => self.aggregate.fold(&self.op, state, value)?,
                    (None, row) if !self.fronts.is_empty() => {
                        row.write(self.tail()?)?;
                        continue;
                    }
                    (None, Late::Folded((key, state))) => self.table.insert(hash, key, state),
                    (None, Late::Value((key, value))) => {
                        self.table.insert(hash, key, self.aggregate.create(&self.op, value));
                    }
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
        if const { std::mem::needs_drop::<(K, A::State)>() }
            && is_too_much(self.table.unshrunk(), self.resident, &self.task)
        {
            self.table.shrink();
            self.resident = self.task.host().memory().resident();
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
                return Err(undividable(&show(&self.table.entries()[0].0), bytes, &self.op, &self.task));
            }
            // The keys that arrived last leave, so that those that stay come out first, in order of arrival.
            let keep = keys / 2;
            let mut front = Spool::new(&self.task)?;
            for entry in self.table.split_off(keep) {
                Late::<K, A::State, V>::write_one(true, &entry, &mut front)?;
            }
            self.values = self.values * keep / keys;
            self.fronts.push(front.finish()?);
        }
    }

    /// Ends a pass: the results are in `out`, and the files that are still to be folded in `late`.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.late = std::mem::take(&mut self.fronts);
        self.late.reverse();
        if let Some(tail) = self.tail.take() {
            self.late.push(tail.finish()?);
        }
        self.values = 0;
        let mut rows = self.table.take();
        if self.task.checks_rows() {
            // With less memory these rows would have gone through a file.
            codec::prove_rows(&mut rows, true)?;
        }
        self.out = rows.into_iter();
        Ok(())
    }

    /// The spill file for rows whose keys are not in the table.
    fn tail(&mut self) -> Result<&mut Spool> {
        if self.tail.is_none() {
            self.tail = Some(Spool::new(&self.task)?);
        }
        self.tail.as_mut().ok_or_else(|| Error::Bug("a spill file is gone".into()))
    }
}
