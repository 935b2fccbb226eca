//! `from_fn`: a source that is a function from the partition's number to items.

use crate::call::{Call1, Callable};
use crate::data::Boxed;
use crate::dataset::Dataset;
use crate::lineage::Node;
use crate::pipe::{Cursor, Flow, Pipe, Step};
use crate::runner::Runner;
use crate::ship::{NoCaptures, Plain, Ship, captures_nothing, ship};
use crate::task::TaskContext;
use std::marker::PhantomData;
use std::sync::Arc;
use tryworks_base::{Op, Result};

/// The pipe of [`from_fn`].
pub struct FromFn<F, I> {
    function: F,
    op: Op,
    made: PhantomData<fn() -> I>,
}

impl<F: Clone, I> Clone for FromFn<F, I> {
    fn clone(&self) -> Self {
        FromFn { function: self.function.clone(), op: self.op, made: PhantomData }
    }
}

ship!([F: Ship, I] FromFn<F, I> { function: ship, op: value, made: none });

impl<F, I> Pipe for FromFn<F, I>
where
    F: Call1<u32, Out = I> + Callable,
    I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
{
    type Item = I::Item;
    type Cursor = FromFnCursor<I::IntoIter>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        self.function.ready(&self.op, task.place())?;
        let items = self.op.call(|| self.function.call(partition).into_iter());
        Ok(FromFnCursor { items, op: self.op })
    }
}

/// One partition made by a function.
pub struct FromFnCursor<I> {
    items: I,
    op: Op,
}

impl<I: Iterator + Send> Cursor for FromFnCursor<I> {
    type Item = I::Item;
    const EXPANDS: bool = false;

    fn advance<S: FnMut(I::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        for _ in 0..budget {
            let Some(item) = self.op.call(|| self.items.next()) else { return Ok(Step::Done) };
            if sink(item).is_break() {
                break;
            }
        }
        Ok(Step::More)
    }
}

/// The compiler's message about a closure that captures something, where there is no dataset yet to call `with` on.
pub const BEGIN_WITH: &str = "this closure captures something: use `cx.range(..)` with `.with(value)` and `flat_map`";

/// The body of every `from_fn`. Its caller has checked that `function` captures nothing.
#[track_caller]
pub fn from_fn<F, I>(runner: Arc<dyn Runner>, partitions: u32, function: F) -> Dataset<impl Pipe<Item = I::Item>>
where
    F: Fn(u32) -> I + NoCaptures,
    I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
{
    let op = Op::here("from_fn");
    let node = Arc::new(Node::source(op, partitions, String::new()));
    Dataset { pipe: FromFn { function: Plain(function), op, made: PhantomData }, node, runner, shuffle_into: None }
}

/// # Sources
impl<T: Send + 'static> Dataset<Boxed<T>> {
    /// A dataset of `partitions` partitions. `function` makes the items of each partition from its number.
    #[track_caller]
    pub fn from_fn<F, I>(
        runner: Arc<dyn Runner>,
        partitions: u32,
        function: F,
    ) -> Dataset<impl Pipe<Item = T> + use<T, F, I>>
    where
        F: Fn(u32) -> I + NoCaptures,
        I: IntoIterator<Item = T, IntoIter: Send + 'static> + 'static,
    {
        const { captures_nothing::<F>(BEGIN_WITH) }
        from_fn(runner, partitions, function)
    }
}
