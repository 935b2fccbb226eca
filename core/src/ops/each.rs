//! The builder of item-wise operators: each one is a function from an item to a sink.

use crate::call::Callable;
use crate::dataset::Dataset;
use crate::lineage::Node;
use crate::pipe::{CHECK, CONTINUE, Cursor, Flow, Pipe, STOP, Step};
use crate::ship::{Ship, ship};
use crate::task::TaskContext;
use std::marker::PhantomData;
use tryworks_base::{Error, Op, Result, UserError};

/// What an item-wise operator does to one item.
pub trait Itemwise<A, F>: Send + Sync + 'static {
    /// Whether the operator leaves keys unchanged, so that a dataset stays partitioned by them.
    const KEEPS_PARTITIONING: bool = false;
    /// Whether it may yield more than one item for an item.
    const EXPANDS: bool = false;
    /// The items that it yields.
    type Out: Send + 'static;
    /// What it keeps between the items of a partition.
    type State: Default + Send + 'static;

    /// Pushes what is left of the item at which the sink stopped before into `sink`, as [`each`](Itemwise::each) does.
    ///
    /// # Errors
    /// As [`each`](Itemwise::each).
    fn rest<S: FnMut(Self::Out) -> Flow>(_: &mut Self::State, _: &At, _: &mut S) -> Result<Flow> {
        Ok(CONTINUE)
    }

    /// Pushes what `item` yields into `sink`. It must stop when `sink` stops, and return that flow. An operator that
    /// yields more than one item then keeps the others for [`rest`](Itemwise::rest).
    ///
    /// # Errors
    /// What the user's function returned.
    fn each<S: FnMut(Self::Out) -> Flow>(
        state: &mut Self::State,
        at: &At,
        function: &F,
        item: A,
        sink: &mut S,
    ) -> Result<Flow>;
}

/// Replaces the function of operators that take none.
#[derive(Clone, Copy)]
pub struct Nothing;

ship!([] Nothing {});

impl Callable for Nothing {}

/// The operator, and the task that runs it.
pub struct At {
    pub(crate) op: Op,
    pub(crate) task: TaskContext,
}

impl At {
    /// The error of a function of the user's that returned one.
    pub(crate) fn failed(&self, error: UserError) -> Error {
        self.op.failed(error, self.task.place())
    }
}

/// An item-wise operator of the kind `K` over the pipe `P`, with the function `F`.
pub struct Each<P, F, K> {
    input: P,
    function: F,
    op: Op,
    kind: PhantomData<fn() -> K>,
}

impl<P: Clone, F: Clone, K> Clone for Each<P, F, K> {
    fn clone(&self) -> Self {
        Each { input: self.input.clone(), function: self.function.clone(), op: self.op, kind: PhantomData }
    }
}

impl<P, F, K> Each<P, F, K> {
    pub(crate) fn new(input: P, function: F, op: Op) -> Self {
        Each { input, function, op, kind: PhantomData }
    }
}

ship!([P: Ship, F: Ship, K] Each<P, F, K> { input: ship, function: ship, op: value, kind: none });

impl<P: Pipe, F: Callable, K: Itemwise<P::Item, F>> Pipe for Each<P, F, K> {
    type Item = K::Out;
    type Cursor = EachCursor<P::Cursor, F, K, K::State>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        let input = self.input.open(partition, task)?;
        self.function.ready(&self.op, task.place())?;
        Ok(EachCursor {
            input,
            function: self.function.clone(),
            at: At { op: self.op, task: task.clone() },
            state: K::State::default(),
            kind: PhantomData,
        })
    }

    fn feed(&self) -> Option<&crate::links::Links> {
        self.input.feed()
    }
}

/// One partition of an item-wise operator.
pub struct EachCursor<C, F, K, S> {
    input: C,
    function: F,
    at: At,
    state: S,
    kind: PhantomData<fn() -> K>,
}

impl<C: Cursor, F: Callable, K: Itemwise<C::Item, F>> Cursor for EachCursor<C, F, K, K::State> {
    type Item = K::Out;
    const EXPANDS: bool = C::EXPANDS || K::EXPANDS;

    #[inline]
    fn advance<S: FnMut(K::Out) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let EachCursor { input, function, at, state, .. } = self;
        let mut failed: Option<Error> = None;
        let step = input.advance(budget, &mut |item| match K::each(state, at, function, item, sink) {
            Ok(flow) => flow,
            Err(error) => {
                failed = Some(error);
                STOP
            }
        })?;
        failed.map_or(Ok(step), Err)
    }

    fn rest<S: FnMut(K::Out) -> Flow>(&mut self, sink: &mut S) -> Result<Flow> {
        let EachCursor { input, function, at, state, .. } = self;
        if K::rest(state, at, sink)?.is_break() {
            return Ok(STOP);
        }
        let mut failed: Option<Error> = None;
        let flow = input.rest(&mut |item| match K::each(state, at, function, item, sink) {
            Ok(flow) => flow,
            Err(error) => {
                failed = Some(error);
                STOP
            }
        })?;
        failed.map_or(Ok(flow), Err)
    }
}

/// Pushes every item of the user's iterator into a sink. If the sink stops, `open` keeps the rest. Now and then it checks
/// whether the task was cancelled.
#[inline(always)]
pub(crate) fn pour<I: Iterator>(
    open: &mut Option<I>,
    at: &At,
    mut items: I,
    sink: &mut impl FnMut(I::Item) -> Flow,
) -> Result<Flow> {
    debug_assert!(open.is_none(), "items are left from a stop");
    let mut left = CHECK;
    while let Some(item) = at.op.call(|| items.next()) {
        if sink(item).is_break() {
            *open = Some(items);
            return Ok(STOP);
        }
        left -= 1;
        if left == 0 {
            at.task.check()?;
            left = CHECK;
        }
    }
    Ok(CONTINUE)
}

/// Pushes what is left of the user's iterator in which a sink stopped.
pub(crate) fn pour_rest<I: Iterator>(
    open: &mut Option<I>,
    at: &At,
    sink: &mut impl FnMut(I::Item) -> Flow,
) -> Result<Flow> {
    match open.take() {
        Some(items) => pour(open, at, items, sink),
        None => Ok(CONTINUE),
    }
}

impl<P: Pipe> Dataset<P> {
    /// The dataset of an item-wise operator of the kind `K` over this one.
    pub(crate) fn itemwise<K: Itemwise<P::Item, F>, F: Callable>(&self, op: Op, function: F) -> Dataset<Each<P, F, K>> {
        let partitioning = self.node.partitioning.filter(|_| K::KEEPS_PARTITIONING);
        self.narrow(
            Each::new(self.pipe.clone(), function, op),
            Node::narrow(op, &self.node).with_partitioning(partitioning),
        )
    }
}
