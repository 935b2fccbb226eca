//! `union`: the items of several datasets.

use crate::data::{Boxed, Data};
use crate::dataset::Dataset;
use crate::lineage::{Input, Node, Shape};
use crate::links::Link;
use crate::pipe::{CONTINUE, Cursor, Flow, Pipe, Step};
use crate::runner::Runner;
use crate::ship::{Decoder, Encoder, Ship, ship};
use crate::task::TaskContext;
use std::sync::Arc;
use tryworks_base::{Error, Op, Result};

/// The pipe of [`Dataset::union`].
#[derive(Clone)]
pub struct Union<P, Q> {
    first: P,
    second: Q,
    /// The number of partitions of the first input, which come first. `None` if partitions of the same number are
    /// joined.
    first_partitions: Option<u32>,
}

ship!([P: Ship, Q: Ship] Union<P, Q> { first: ship, second: ship, first_partitions: value });

impl<P: Pipe, Q: Pipe<Item = P::Item>> Pipe for Union<P, Q> {
    type Item = P::Item;
    type Cursor = UnionCursor<P::Cursor, Q::Cursor>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        let (first, second) = match self.first_partitions {
            None => (Some(self.first.open(partition, task)?), Some(self.second.open(partition, task)?)),
            Some(n) if partition < n => (Some(self.first.open(partition, task)?), None),
            Some(n) => (None, Some(self.second.open(partition - n, task)?)),
        };
        Ok(UnionCursor { first, second })
    }

    fn link(&self) -> Option<Link> {
        let (first, second) = (Boxed::links(&self.first), Boxed::links(&self.second));
        Some(match self.first_partitions {
            None => Link::alike(first, second),
            Some(partitions) => Link::all(vec![(0, first), (partitions, second)]),
        })
    }
}

/// One partition of a union.
pub struct UnionCursor<C, D> {
    first: Option<C>,
    second: Option<D>,
}

impl<C: Cursor, D: Cursor<Item = C::Item>> Cursor for UnionCursor<C, D> {
    type Item = C::Item;
    const EXPANDS: bool = C::EXPANDS || D::EXPANDS;

    fn advance<S: FnMut(C::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        if let Some(first) = &mut self.first {
            if first.advance(budget, sink)? == Step::More {
                return Ok(Step::More);
            }
            self.first = None;
            return Ok(if self.second.is_some() { Step::More } else { Step::Done });
        }
        self.second.as_mut().map_or(Ok(Step::Done), |second| second.advance(budget, sink))
    }

    fn rest<S: FnMut(C::Item) -> Flow>(&mut self, sink: &mut S) -> Result<Flow> {
        match (&mut self.first, &mut self.second) {
            (Some(first), _) => first.rest(sink),
            (None, Some(second)) => second.rest(sink),
            (None, None) => Ok(CONTINUE),
        }
    }
}

impl<P, Q> Union<P, Q> {
    /// The partitions of both pipes, joined by their numbers.
    pub(super) fn of_partitions(first: P, second: Q) -> Self {
        Union { first, second, first_partitions: None }
    }
}

/// # Several datasets
impl<P: Pipe> Dataset<P> {
    /// The items of both datasets, including duplicates: the partitions of this one, then those of `other`. If both are
    /// partitioned in the same way, partitions of the same number are joined instead, and the result is partitioned in
    /// this way, too.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..2).union(&cx.range(1..3)).collect()?, [0, 1, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn union<Q: Pipe<Item = P::Item>>(&self, other: &Dataset<Q>) -> Dataset<impl Pipe<Item = P::Item> + use<P, Q>> {
        self.united(Op::here("union"), other)
    }

    pub(super) fn united<Q: Pipe<Item = P::Item>>(&self, op: Op, other: &Dataset<Q>) -> Dataset<Union<P, Q>> {
        let inputs = vec![Input::Narrow(self.node.clone()), Input::Narrow(other.node.clone())];
        let alike = self.node.partitioning.filter(|partitioning| other.node.partitioning == Some(*partitioning));
        let (own, others) = (self.node.partitions, other.node.partitions);
        let partitions = if alike.is_some() { own } else { own.saturating_add(others) };
        let pipe = Union {
            first: self.pipe.clone(),
            second: other.pipe.clone(),
            first_partitions: alike.is_none().then_some(self.node.partitions),
        };
        let detail = if alike.is_some() { "partition by partition: both are partitioned alike" } else { "" };
        let node = Node::new(op, Shape::Narrow, partitions, inputs).with_partitioning(alike).with_detail(detail);
        self.narrow(pipe, node.with_fault(other.beside(op)))
    }
}

/// The pipe of a union of many datasets: a flat list, however many there are.
pub struct UnionAll<T> {
    /// Each pipe with the number of its first partition.
    inputs: Arc<[(u32, Boxed<T>)]>,
}

impl<T> Clone for UnionAll<T> {
    fn clone(&self) -> Self {
        UnionAll { inputs: self.inputs.clone() }
    }
}

impl<T: Send + 'static> Ship for UnionAll<T> {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        to.value(&self.inputs.len())?;
        self.inputs.iter().try_for_each(|(start, pipe)| {
            to.value(start)?;
            pipe.encode(to)
        })
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        let count: usize = from.value()?;
        let inputs = (0..count).map(|_| Ok((from.value()?, Boxed::decode(from)?))).collect::<Result<Vec<_>>>()?;
        Ok(UnionAll { inputs: inputs.into() })
    }
}

impl<T: Send + 'static> Pipe for UnionAll<T> {
    type Item = T;
    type Cursor = <Boxed<T> as Pipe>::Cursor;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        let at = self.inputs.partition_point(|(start, _)| *start <= partition);
        let Some((start, pipe)) = at.checked_sub(1).map(|at| &self.inputs[at]) else {
            return Err(Error::Bug(format!("a union has no partition {partition}")));
        };
        pipe.open(partition - start, task)
    }

    fn link(&self) -> Option<Link> {
        Some(Link::all(self.inputs.iter().map(|(start, pipe)| (*start, Boxed::links(pipe))).collect()))
    }
}

/// # Several datasets
impl<T: Send + 'static> Dataset<Boxed<T>> {
    /// The items of all `datasets`, one after another.
    #[track_caller]
    pub fn union_all(runner: Arc<dyn Runner>, datasets: Vec<Data<T>>) -> Dataset<impl Pipe<Item = T> + use<T>> {
        let op = Op::here("union");
        let mut partitions = 0u32;
        let mut inputs = Vec::new();
        let mut pipes = Vec::new();
        let fault = datasets.iter().find_map(|data| data.misplaced(op));
        // A dataset without partitions would have the same first partition as the next one.
        for data in datasets.into_iter().filter(|data| data.node.partitions > 0) {
            inputs.push(Input::Narrow(data.node.clone()));
            pipes.push((partitions, data.pipe.clone()));
            partitions = partitions.saturating_add(data.node.partitions);
        }
        let node = Node::new(op, Shape::Narrow, partitions, inputs).with_fault(fault);
        Dataset { pipe: UnionAll { inputs: pipes.into() }, node: Arc::new(node), runner, shuffle_into: None }
    }
}
