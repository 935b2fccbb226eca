//! `join`: pairs the values of equal keys of two datasets.

use crate::dataset::Dataset;
use crate::exchange::{Opened, Rows, Side, Spool, Spooled, Table, default_readers, floor, hash_of, no_partitions};
use crate::lineage::{Input, Layout, Node, Shape};
use crate::pipe::{BATCH, Cursor, Flow, Pipe, Step};
use crate::row::{Key, Row, RowSize};
use crate::ship::{Decoder, Encoder, Ship};
use crate::task::Task;
use hashbrown::HashTable;
use std::ops::Range;
use tryworks_base::memory::Reservation;
use tryworks_base::{Op, Result};

/// The pipe of [`Dataset::join`].
pub struct Join<K, V, W> {
    left: Side<(K, V)>,
    right: Side<(K, W)>,
}

impl<K: Clone, V: Clone, W: Clone> Clone for Join<K, V, W> {
    fn clone(&self) -> Self {
        Join { left: self.left.clone(), right: self.right.clone() }
    }
}

impl<K: Send + 'static, V: Send + 'static, W: Send + 'static> Ship for Join<K, V, W> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.left.encode(to)?;
        self.right.encode(to)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok(Join { left: Side::decode(from)?, right: Side::decode(from)? })
    }
}

impl<K: Key, V: Row, W: Row> Pipe for Join<K, V, W> {
    type Item = (K, (V, W));
    type Cursor = JoinCursor<K, V, W>;

    fn open(&self, partition: u32, task: &Task) -> Result<Self::Cursor> {
        let (left, right) = (self.left.parts(), self.right.parts());
        // A side that is read in place is not cut: then the other one is not either.
        let parts = if left == right { left } else { 1 };
        Ok(JoinCursor {
            left: self.left.open(partition, task)?,
            right: self.right.open(partition, task)?,
            parts: 0..parts,
            widths: (left / parts, right / parts),
            at: At::Begin,
            task: task.clone(),
        })
    }
}

/// One partition of a join: for each sub-partition a table of the right side, met by the rows of the left side in
/// their order. So the order is that of the left side, then that of the right.
pub struct JoinCursor<K, V, W> {
    left: Opened<(K, V)>,
    right: Opened<(K, W)>,
    parts: Range<u32>,
    widths: (u32, u32),
    at: At<K, V, W>,
    task: Task,
}

enum At<K, V, W> {
    /// Before a sub-partition.
    Begin,
    /// The right side is in a table, and the left side is read past it.
    Table { built: Built<K, W>, left: Rows<(K, V)> },
    /// The right side does not fit: a run of left rows at a time meets all of the right side, read again.
    Runs { left: Rows<(K, V)>, run: Run<K, V>, part: u32, fit: usize },
}

/// Left rows that are gathered to meet the right side together.
struct Run<K, V> {
    rows: Vec<(K, V)>,
    /// How many of them have met it.
    met: usize,
    size: RowSize<(K, V)>,
    working: Reservation,
}

/// The right side of a sub-partition: for each key its first row and the chain of the others.
struct Built<K, W> {
    table: Table<K, Chain>,
    rows: Vec<(W, u32)>,
    working: Reservation,
}

/// Row numbers, as `u32`, for they have to fit into memory.
#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

const END: u32 = u32::MAX;

impl<K: Key, W: Row> Built<K, W> {
    fn new(task: &Task) -> Self {
        Built { table: Table::new(), rows: Vec::new(), working: task.host().memory().reservation() }
    }

    fn add(&mut self, hash: u64, key: &K, value: &W) {
        let at = self.rows.len() as u32;
        self.rows.push((value.clone(), END));
        match self.table.get_mut(hash, key) {
            Some(chain) => {
                self.rows[chain.last as usize].1 = at;
                chain.last = at;
            }
            None => self.table.insert(hash, key.clone(), Chain { first: at, last: at }),
        }
    }

    /// The values of a key, in the order in which they came.
    #[inline]
    fn of(&self, key: &K) -> impl Iterator<Item = &W> {
        self.chain(self.table.get(hash_of(key), key).copied().unwrap_or(Chain { first: END, last: END }))
    }

    #[inline]
    fn chain(&self, chain: Chain) -> impl Iterator<Item = &W> {
        let mut at = chain.first;
        std::iter::from_fn(move || {
            let (value, next) = self.rows.get(at as usize)?;
            at = *next;
            Some(value)
        })
    }

    /// Whether what is here fits into the budget.
    fn fits(&mut self, size: &RowSize<(K, W)>, floor: u64) -> bool {
        let bytes =
            self.table.bytes() + (self.rows.capacity() * size_of::<(W, u32)>()) as u64 + size.of(self.rows.len())
                - (self.rows.len() * size_of::<(K, W)>()) as u64;
        if bytes <= self.working.bytes() || self.working.resize(bytes) {
            return true;
        }
        if bytes <= floor {
            self.working.insist(bytes - self.working.bytes());
        }
        bytes <= floor
    }
}

/// How many left rows meet the right side at a time when it does not fit, at most.
const RUN: usize = 64 * 1024;
/// The bytes of a hash in a table of them.
const HASH: usize = 2 * size_of::<u64>();

impl<K: Key, V: Row> Run<K, V> {
    fn new(task: &Task) -> Self {
        Run { rows: Vec::new(), met: 0, size: RowSize::new(), working: task.host().memory().reservation() }
    }

    /// Those that have not met the right side.
    fn rest(&self) -> &[(K, V)] {
        &self.rows[self.met..]
    }

    /// Gathers the next rows: the right side is read once for all of them, so they are as many as a task may always
    /// have memory for, in however small pieces they come. False if there are none.
    fn gather(&mut self, left: &mut Rows<(K, V)>, task: &Task) -> Result<bool> {
        self.rows.clear();
        self.met = 0;
        let most = floor(task);
        while self.rows.len() < RUN {
            task.check()?;
            let Some(rows) = left.next(BATCH.min(RUN - self.rows.len()))? else { break };
            rows.last().into_iter().for_each(|row| self.size.sample(row));
            self.rows.extend_from_slice(rows);
            let bytes = self.size.of(self.rows.len()) + (self.rows.len() * HASH) as u64;
            self.working.insist(bytes.saturating_sub(self.working.bytes()));
            if bytes >= most {
                break;
            }
        }
        Ok(!self.rows.is_empty())
    }
}

/// A table of the right rows, or what there was of it when there was no room for more.
type Attempt<K, W> = std::result::Result<Built<K, W>, Built<K, W>>;

impl<K: Key, V: Row, W: Row> JoinCursor<K, V, W> {
    fn left_rows(&self, part: u32) -> Result<Rows<(K, V)>> {
        self.left.rows(part * self.widths.0..(part + 1) * self.widths.0)
    }

    fn right_rows(&self, part: u32) -> Result<Rows<(K, W)>> {
        self.right.rows(part * self.widths.1..(part + 1) * self.widths.1)
    }

    /// A table of those of `rows` whose hashes are `wanted`, if it fits.
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

    /// Puts the right side aside: what is in a table of it, and the rest. The rows of each key stay in their order.
    fn put_aside(&self, built: Built<K, W>, rest: &mut Rows<(K, W)>) -> Result<Spooled<(K, W)>> {
        let mut spool = Spool::new(&self.task)?;
        for (key, chain) in built.table.entries() {
            built.chain(*chain).try_for_each(|value| spool.push(&(key, value)))?;
        }
        drop(built);
        while let Some(rows) = rest.next(BATCH)? {
            self.task.check()?;
            rows.iter().try_for_each(|row| spool.push(row))?;
        }
        spool.finish()
    }

    /// Joins the next left rows of a run, `fit` at most, with all of the right side. Those whose matches do not fit
    /// are tried again, half as many; and a single row needs no table at all.
    fn join_run<S: FnMut((K, (V, W))) -> Flow>(
        &self,
        run: &mut Run<K, V>,
        part: u32,
        fit: &mut usize,
        sink: &mut S,
    ) -> Result<()> {
        let left = &run.rest()[..run.rest().len().min(*fit)];
        // Hashes are enough: a key that has the hash of another one meets no left row.
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

/// Gives all pairs of left rows and their matches to `sink`.
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
                        // Rows that are read in place are made as they are read, which is not done again for each run.
                        // Such a side is one part.
                        if matches!(right, Rows::Direct(..)) {
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

impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Pairs every value of this dataset with every value of `other` that has the same key. A side that is laid out
    /// by key already is not shuffled. The smaller side belongs to the right: it is the one that is held in memory.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let ages = cx.parallelize(vec![(1, 30), (2, 40)]);
    /// let names = cx.parallelize(vec![(2, "Ahab".to_string()), (3, "Pip".to_string())]);
    /// assert_eq!(ages.join(&names).collect()?, [(2, (40, "Ahab".to_string()))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn join<W: Row, Q: Pipe<Item = (K, W)>>(&self, other: &Dataset<Q>) -> Dataset<Join<K, V, W>>
    where
        K: Key,
        V: Row,
    {
        self.joined(Op::here("join"), default_readers(&[&self.node, &other.node]), other)
    }

    /// [`join`](Dataset::join) into a given number of partitions.
    #[track_caller]
    pub fn join_in<W: Row, Q: Pipe<Item = (K, W)>>(&self, partitions: u32, other: &Dataset<Q>) -> Dataset<Join<K, V, W>>
    where
        K: Key,
        V: Row,
    {
        self.joined(Op::here("join"), partitions, other)
    }

    fn joined<W: Row, Q: Pipe<Item = (K, W)>>(&self, op: Op, readers: u32, other: &Dataset<Q>) -> Dataset<Join<K, V, W>>
    where
        K: Key,
        V: Row,
    {
        let (left, right) = (self.scattered(readers), other.scattered(readers));
        let detail = match (&left.input, &right.input) {
            (Input::Shuffle(_), Input::Shuffle(_)) => "",
            (Input::Narrow(_), Input::Shuffle(_)) => "the left side is laid out by key already",
            (Input::Shuffle(_), Input::Narrow(_)) => "the right side is laid out by key already",
            (Input::Narrow(_), Input::Narrow(_)) => "no shuffle: both sides are laid out by key already",
        };
        let in_place = matches!((&left.input, &right.input), (Input::Narrow(_), Input::Narrow(_)));
        let shape = if in_place { Shape::Narrow } else { Shape::Wide };
        let node = Node::new(op, shape, readers, vec![left.input, right.input]).with_detail(detail);
        let node = node.with_layout(Some(Layout::Hash(readers))).with_fault(no_partitions(op, readers));
        self.chain(Join { left: left.side, right: right.side }, node)
    }
}
