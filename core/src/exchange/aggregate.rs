//! Aggregation by key: what an aggregation is, its map side with a bounded table, and its reading side, which goes on
//! with the same left fold when memory is short.

use super::block::{decode_rows, encode_rows};
use super::hash::{Buckets, hash_of};
use super::read::{Opened, Side};
use super::table::Table;
use super::write::BucketWriter;
use crate::call::Callable;
use crate::error::{Error, Result};
use crate::host::{FrameWriter, Frames};
use crate::memory::Reservation;
use crate::pipe::{BATCH, Cursor, Flow, Pipe, STOP, Step, drive};
use crate::row::{Key, Row, RowSize, show};
use crate::ship::{Decoder, Encoder, Ship};
use crate::stage::{Output, StageCode};
use crate::task::{Op, Task};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// A left fold over the values of a key.
pub trait Aggregate<V>: Callable {
    /// What is folded into. It is written to a spill file when memory is short.
    type State: Row;
    /// What comes out.
    type Out: Send + 'static;
    /// Whether the state takes more memory with each value.
    const GROWS: bool;

    /// Begins with the first value.
    fn create(&self, op: &Op, value: V) -> Self::State;
    /// Goes on with the next one.
    fn fold(&self, op: &Op, state: &mut Self::State, value: V);
    /// Ends.
    fn finish(&self, state: Self::State) -> Self::Out;
}

/// The most keys that a map task keeps before it hands on what it has.
const COMBINE_KEYS: usize = 1 << 17;
/// After so many rows a map task asks whether combining is of use.
const COMBINE_TRIAL: usize = 100_000;

/// The map tasks of an aggregation that combines before the shuffle.
pub(crate) struct CombineStage<P, A> {
    pub(crate) input: P,
    pub(crate) aggregate: A,
    pub(crate) buckets: Buckets,
    pub(crate) op: Op,
}

impl<P: Ship, A: Ship> Ship for CombineStage<P, A> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.input.encode(to)?;
        self.aggregate.encode(to)?;
        to.value(&(self.buckets, self.op))
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        let (input, aggregate) = (P::decode(from)?, A::decode(from)?);
        let (buckets, op) = from.value()?;
        Ok(CombineStage { input, aggregate, buckets, op })
    }
}

impl<K: Key, V: Send + 'static, P: Pipe<Item = (K, V)>, A: Aggregate<V, Out: Row>> StageCode for CombineStage<P, A> {
    fn run(&self, partition: u32, task: &Task) -> Result<Output> {
        let CombineStage { aggregate, buckets, op, .. } = self;
        let mut cursor = self.input.open(partition, task)?;
        aggregate.ready(op, task.place())?;
        let mut writer = BucketWriter::<(K, A::Out)>::new(*buckets, task);
        let mut failed = None;
        let mut combine = Combine::new(aggregate, op);
        drive(&mut cursor, task, &mut |(key, value)| {
            if !combine.helps {
                let bucket = buckets.of(hash_of(&key));
                let out = aggregate.finish(aggregate.create(op, value));
                return unless_failed(writer.push(bucket, (key, out)), &mut failed);
            }
            combine.rows.push((key, value));
            if combine.rows.len() < COMBINE_BATCH {
                return Flow::Continue(());
            }
            unless_failed(combine.fold(*buckets, &mut writer), &mut failed)
        })?;
        failed.map_or(Ok(()), Err)?;
        combine.fold(*buckets, &mut writer)?;
        combine.hand_on(*buckets, &mut writer)?;
        drop(combine);
        writer.finish()
    }
}

/// Rows that are looked up at a time.
const COMBINE_BATCH: usize = 256;

/// The table of a map task. What is decided here depends on numbers of rows alone, since it decides in which order
/// values are folded.
struct Combine<'a, K, V, A: Aggregate<V>> {
    aggregate: &'a A,
    op: &'a Op,
    table: Table<K, A::State>,
    /// Whether it is of use: until the first look it is believed to be.
    helps: bool,
    /// Rows folded since the table was empty.
    folded: usize,
    /// Rows to be folded.
    rows: Vec<(K, V)>,
    hashes: Vec<u64>,
    found: Vec<u32>,
}

impl<'a, K: Key, V, A: Aggregate<V, Out: Row>> Combine<'a, K, V, A> {
    fn new(aggregate: &'a A, op: &'a Op) -> Self {
        Combine {
            aggregate,
            op,
            table: Table::new(),
            helps: true,
            folded: 0,
            rows: Vec::with_capacity(COMBINE_BATCH),
            hashes: Vec::with_capacity(COMBINE_BATCH),
            found: Vec::with_capacity(COMBINE_BATCH),
        }
    }

    /// Folds the rows that wait into the table, and hands the table on if it is full or of no use.
    fn fold(&mut self, buckets: Buckets, writer: &mut BucketWriter<(K, A::Out)>) -> Result<()> {
        let Combine { aggregate, op, table, rows, hashes, found, .. } = self;
        hashes.clear();
        hashes.extend(rows.iter().map(|(key, _)| hash_of(key)));
        table.find_all(hashes, rows.iter().map(|(key, _)| key), found);
        let before = self.folded;
        self.folded += rows.len();
        for ((key, value), (&hash, &found)) in rows.drain(..).zip(hashes.iter().zip(&*found)) {
            match table.get_found(found, hash, &key) {
                Some(state) => aggregate.fold(op, state, value),
                None => table.insert(hash, key, aggregate.create(op, value)),
            }
        }
        let full = table.len() >= COMBINE_KEYS;
        if full || (before < COMBINE_TRIAL && self.folded >= COMBINE_TRIAL) {
            self.helps = table.len() * 5 <= self.folded * 4;
            if full || !self.helps {
                return self.hand_on(buckets, writer);
            }
        }
        Ok(())
    }

    fn hand_on(&mut self, buckets: Buckets, writer: &mut BucketWriter<(K, A::Out)>) -> Result<()> {
        self.folded = 0;
        self.table
            .drain()
            .try_for_each(|(key, state)| writer.push(buckets.of(hash_of(&key)), (key, self.aggregate.finish(state))))
    }
}

/// The flow after something that can fail, whose error is kept.
#[inline]
pub(crate) fn unless_failed(result: Result<()>, failed: &mut Option<Error>) -> Flow {
    match result {
        Ok(()) => Flow::Continue(()),
        Err(error) => {
            *failed = Some(error);
            STOP
        }
    }
}

/// The map tasks of an exchange by key that does not combine.
pub(crate) struct ScatterStage<P> {
    pub(crate) input: P,
    pub(crate) buckets: Buckets,
}

impl<P: Ship> Ship for ScatterStage<P> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.input.encode(to)?;
        to.value(&self.buckets)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(ScatterStage { input: P::decode(from)?, buckets: from.value()? })
    }
}

impl<K: Key, V: Row, P: Pipe<Item = (K, V)>> StageCode for ScatterStage<P> {
    fn run(&self, partition: u32, task: &Task) -> Result<Output> {
        let mut cursor = self.input.open(partition, task)?;
        let mut writer = BucketWriter::new(self.buckets, task);
        let mut failed = None;
        drive(&mut cursor, task, &mut |row: (K, V)| {
            unless_failed(writer.push(self.buckets.of(hash_of(&row.0)), row), &mut failed)
        })?;
        failed.map_or(Ok(()), Err)?;
        writer.finish()
    }
}

/// The pipe that reads pairs and yields each key once, with its fold. The order is that of the hash sub-partitions,
/// then of first arrival.
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

impl<K: Send + 'static, V: Send + 'static, A: Ship> Ship for Grouped<K, V, A> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.side.encode(to)?;
        self.aggregate.encode(to)?;
        to.value(&self.op)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Grouped { side: Side::decode(from)?, aggregate: A::decode(from)?, op: from.value()? })
    }
}

impl<K: Key, V: Row, A: Aggregate<V>> Pipe for Grouped<K, V, A> {
    type Item = (K, A::Out);
    type Cursor = GroupedCursor<K, V, A>;

    fn open(&self, partition: u32, task: &Task) -> Result<Self::Cursor> {
        self.aggregate.ready(&self.op, task.place())?;
        Ok(GroupedCursor {
            parts: 0..self.side.parts(),
            opened: self.side.open(partition, task)?,
            out: Vec::new().into_iter(),
            late: Vec::new(),
            fold: Fold::new(self.aggregate.clone(), self.op, task),
        })
    }
}

/// One partition of a grouped dataset.
pub struct GroupedCursor<K: Key, V: Row, A: Aggregate<V>> {
    opened: Opened<(K, V)>,
    parts: Range<u32>,
    out: std::vec::IntoIter<(K, A::State)>,
    /// What is still to be folded after what is in `out`.
    late: Vec<Arc<dyn Frames>>,
    fold: Fold<K, V, A>,
}

impl<K: Key, V: Row, A: Aggregate<V>> Cursor for GroupedCursor<K, V, A> {
    type Item = (K, A::Out);

    fn advance<S: FnMut(Self::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        if self.out.as_slice().is_empty() {
            if !self.late.is_empty() {
                for late in std::mem::take(&mut self.late) {
                    self.fold.read_late(&*late)?;
                }
            } else if let Some(part) = self.parts.next() {
                let mut rows = self.opened.rows(part..part + 1)?;
                while let Some(rows) = rows.next(BATCH)? {
                    self.fold.add(rows)?;
                }
            } else {
                return Ok(Step::Done);
            }
            (self.out, self.late) = self.fold.end()?;
        }
        for (key, state) in self.out.by_ref().take(budget) {
            if sink((key, self.fold.aggregate.finish(state))).is_break() {
                break;
            }
        }
        Ok(Step::More)
    }
}

/// A fold by key within a budget. When there is no room for more, the keys that came last leave, with what was folded
/// for them, for a spill file; values of keys that are not in the table follow them there, in order. The file is
/// then folded in the same way. So each key's values are folded in the same order as with any amount of memory, and
/// the keys come out in the order of their first arrival.
struct Fold<K, V, A: Aggregate<V>> {
    aggregate: A,
    op: Op,
    task: Task,
    table: Table<K, A::State>,
    /// The keys that left the table at a time: those of the last time arrived first.
    fronts: Vec<Arc<dyn Frames>>,
    /// The values, in order, of keys that are not in the table, since the first keys left it.
    tail: Option<LateWriter<K, A::State, V>>,
    size: RowSize<(K, V)>,
    /// Room for the hashes of a slice, and for where its keys are.
    lookups: (Vec<u64>, Vec<u32>),
    /// Values that were folded into what is in the table now, for states that grow.
    values: usize,
    working: Reservation,
}

/// What leaves a table that is full.
#[derive(Clone, Serialize, Deserialize)]
enum Late<K, S, V> {
    Folded(K, S),
    Value(K, V),
}

struct LateWriter<K, S, V> {
    writer: Box<dyn FrameWriter>,
    rows: Vec<Late<K, S, V>>,
    bytes: Vec<u8>,
}

impl<K: Row, S: Row, V: Row> LateWriter<K, S, V> {
    fn new(task: &Task) -> Result<Self> {
        Ok(LateWriter { writer: task.host().spill()?, rows: Vec::new(), bytes: Vec::new() })
    }

    fn finish(mut self) -> Result<Arc<dyn Frames>> {
        self.flush()?;
        self.writer.finish()
    }

    fn push(&mut self, row: Late<K, S, V>) -> Result<()> {
        self.rows.push(row);
        if self.rows.len() == 256 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        encode_rows(&self.rows, &mut self.bytes)?;
        self.rows.clear();
        self.writer.frame(&self.bytes)
    }
}

/// What one key, which cannot be divided, may always have: its task's part of what blocks leave.
fn undivided(task: &Task) -> u64 {
    4 * floor(task)
}

/// What a running task may always have: below this it does not spill, whatever others hold.
fn floor(task: &Task) -> u64 {
    let host = task.host();
    host.memory().limit() / (8 * host.slots() as u64)
}

type Folded<K, S> = (std::vec::IntoIter<(K, S)>, Vec<Arc<dyn Frames>>);

impl<K: Key, V: Row, A: Aggregate<V>> Fold<K, V, A> {
    fn new(aggregate: A, op: Op, task: &Task) -> Self {
        Fold {
            aggregate,
            op,
            table: Table::new(),
            fronts: Vec::new(),
            tail: None,
            size: RowSize::new(),
            lookups: Default::default(),
            values: 0,
            working: task.host().memory().reservation(),
            task: task.clone(),
        }
    }

    /// Folds a slice of rows.
    fn add(&mut self, rows: &[(K, V)]) -> Result<()> {
        self.task.check()?;
        let Some(last) = rows.last() else { return Ok(()) };
        self.size.sample(last);
        let (mut hashes, mut places) = std::mem::take(&mut self.lookups);
        hashes.clear();
        hashes.extend(rows.iter().map(|(key, _)| hash_of(key)));
        self.table.find_all(&hashes, rows.iter().map(|(key, _)| key), &mut places);
        for ((key, value), (&hash, &found)) in rows.iter().zip(hashes.iter().zip(&places)) {
            match self.table.get_found(found, hash, key) {
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
        self.lookups = (hashes, places);
        self.make_room()
    }

    /// Folds what left the table before.
    fn read_late(&mut self, late: &dyn Frames) -> Result<()> {
        let mut bytes = Vec::new();
        let mut rows = Vec::<Late<K, A::State, V>>::new();
        for index in 0..late.len() {
            self.task.check()?;
            late.read(index, &mut bytes)?;
            decode_rows(&bytes, &mut rows)?;
            for row in rows.drain(..) {
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
                    (Some(_), Late::Folded(..)) => return Err(Error::Bug("a key left its table twice".into())),
                }
                self.values += 1;
            }
            self.make_room()?;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let rows = if A::GROWS { self.values } else { self.table.len() };
        self.table.bytes() + self.size.of(rows) * if A::GROWS { 3 } else { 1 } / 2
    }

    fn make_room(&mut self) -> Result<()> {
        loop {
            let bytes = self.bytes();
            let floor = floor(&self.task);
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
            let mut front = LateWriter::<K, A::State, V>::new(&self.task)?;
            for (key, state) in self.table.split_off(keep) {
                front.push(Late::Folded(key, state))?;
            }
            self.values = self.values * keep / keys;
            self.fronts.push(front.finish()?);
        }
    }

    /// Takes what was folded, and what left, to be read in this order.
    fn end(&mut self) -> Result<Folded<K, A::State>> {
        let mut late: Vec<_> = self.fronts.drain(..).rev().collect();
        if let Some(tail) = self.tail.take() {
            late.push(tail.finish()?);
        }
        self.values = 0;
        Ok((self.table.take().into_iter(), late))
    }

    /// Puts off a row whose key is not in the table; gives it back if it has a place there.
    fn put_off(&mut self, row: Late<K, A::State, V>) -> Result<Option<Late<K, A::State, V>>> {
        if self.fronts.is_empty() {
            return Ok(Some(row));
        }
        if self.tail.is_none() {
            self.tail = Some(LateWriter::new(&self.task)?);
        }
        self.tail.as_mut().map_or(Ok(()), |tail| tail.push(row)).map(|()| None)
    }
}
