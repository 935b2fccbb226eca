//! `map_partitions`: turns the iterator over a partition into another iterator.

use crate::call::{Call2, Env};
use crate::dataset::Dataset;
use crate::gather::gather;
use crate::lineage::Node;
use crate::pipe::{BATCH, Cursor, Flow, Pipe, Step};
use crate::ship::{GIVE_IT, NoCaptures, Plain, Ship, captures_nothing, ship};
use crate::task::TaskContext;
use crate::with::With;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use tryworks_base::{Error, Op, Result, TaskSite};

/// The pipe of [`Dataset::map_partitions`].
pub struct MapPartitions<P, F, I> {
    input: P,
    function: F,
    op: Op,
    made: PhantomData<fn() -> I>,
}

impl<P: Clone, F: Clone, I> Clone for MapPartitions<P, F, I> {
    fn clone(&self) -> Self {
        MapPartitions { input: self.input.clone(), function: self.function.clone(), op: self.op, made: PhantomData }
    }
}

ship!([P: Ship, F: Ship, I] MapPartitions<P, F, I> { input: ship, function: ship, op: value, made: none });

/// The items of a partition as an iterator. It reads the partition while it is used.
pub struct Items<C: Cursor> {
    cursor: C,
    batch: std::vec::IntoIter<C::Item>,
    done: bool,
    task: TaskContext,
    /// An error of the input: the iterator ends there, and the operator returns the error at its own end.
    error: Arc<OnceLock<Error>>,
}

impl<C: Cursor> Iterator for Items<C> {
    type Item = C::Item;

    fn next(&mut self) -> Option<C::Item> {
        loop {
            if let Some(item) = self.batch.next() {
                return Some(item);
            }
            if self.done {
                return None;
            }
            let mut items = Vec::new();
            match gather(&mut self.cursor, BATCH, &self.task, &mut items, |_| 0) {
                Ok(step) => self.done = step == Step::Done,
                // An iterator cannot return the error, so the operator returns it when the user's iterator has ended.
                Err(error) => {
                    self.done = true;
                    let _ = self.error.set(error);
                    return None;
                }
            }
            self.batch = items.into_iter();
        }
    }
}

impl<P, F, I> Pipe for MapPartitions<P, F, I>
where
    P: Pipe,
    F: Call2<u32, Items<P::Cursor>, Out = I>,
    I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
{
    type Item = I::Item;
    type Cursor = MapPartitionsCursor<I::IntoIter>;

    fn open(&self, partition: u32, task: &TaskContext) -> Result<Self::Cursor> {
        self.function.ready(&self.op, task.place())?;
        let error = Arc::new(OnceLock::new());
        let cursor = self.input.open(partition, task)?;
        let (batch, task) = (Vec::new().into_iter(), task.clone());
        let items = Items { cursor, batch, done: false, task, error: error.clone() };
        let made = self.op.call(|| self.function.call(partition, items).into_iter());
        Ok(MapPartitionsCursor { made, error, op: self.op })
    }
}

/// One mapped partition.
pub struct MapPartitionsCursor<I> {
    made: I,
    error: Arc<OnceLock<Error>>,
    op: Op,
}

impl<I: Iterator + Send> Cursor for MapPartitionsCursor<I> {
    type Item = I::Item;
    const EXPANDS: bool = false;

    #[inline]
    fn advance<S: FnMut(I::Item) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        for _ in 0..budget {
            let Some(item) = self.op.call(|| self.made.next()) else {
                return self.error.get().map_or(Ok(Step::Done), |error| Err(error.clone()));
            };
            if sink(item).is_break() {
                break;
            }
        }
        Ok(Step::More)
    }
}

/// Calls a function that does not take the partition's number.
#[derive(Clone, Copy)]
pub struct Numberless<F>(F);

ship!([F: Ship] Numberless<F> { 0: ship });

impl<F: crate::call::Callable> crate::call::Callable for Numberless<F> {
    fn ready(&self, op: &Op, place: TaskSite) -> Result<()> {
        self.0.ready(op, place)
    }
}

impl<F: crate::call::Call1<A>, A> Call2<u32, A> for Numberless<F> {
    type Out = F::Out;

    fn call(&self, _: u32, items: A) -> F::Out {
        self.0.call(items)
    }
}

/// # Partitions
impl<P: Pipe> Dataset<P> {
    pub(crate) fn partitions_mapped<F, I>(&self, op: Op, function: F) -> Dataset<MapPartitions<P, F, I>>
    where
        F: Call2<u32, Items<P::Cursor>, Out = I>,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
    {
        let pipe = MapPartitions { input: self.pipe.clone(), function, op, made: PhantomData };
        self.narrow(pipe, Node::narrow(op, &self.node))
    }

    /// Turns each partition into another one. `function` is called once for each partition, with an iterator over its
    /// items, and returns an iterable of the new items.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let sums = cx.range(0..100).coalesce(2).map_partitions(|numbers| [numbers.sum::<u64>()]);
    /// assert_eq!(sums.collect()?.iter().sum::<u64>(), 4950);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn map_partitions<F, I>(&self, function: F) -> Dataset<impl Pipe<Item = I::Item> + use<P, F, I>>
    where
        F: Fn(Items<P::Cursor>) -> I + NoCaptures,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.partitions_mapped(Op::here("map_partitions"), Numberless(Plain(function)))
    }

    /// As [`map_partitions`](Dataset::map_partitions), with the number of the partition as the first argument.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let counts = cx.range(0..9).coalesce(2).map_partitions_with_index(|index, numbers| [(index, numbers.count())]);
    /// assert_eq!(counts.collect()?.len(), 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn map_partitions_with_index<F, I>(&self, function: F) -> Dataset<impl Pipe<Item = I::Item> + use<P, F, I>>
    where
        F: Fn(u32, Items<P::Cursor>) -> I + NoCaptures,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.partitions_mapped(Op::here("map_partitions_with_index"), Plain(function))
    }
}

/// # Partitions
impl<P: Pipe, E: Env> With<P, E> {
    /// [`Dataset::map_partitions`] with the given value first.
    #[track_caller]
    pub fn map_partitions<F, I>(&self, function: F) -> Dataset<impl Pipe<Item = I::Item> + use<P, E, F, I>>
    where
        F: Fn(&E::Value, Items<P::Cursor>) -> I + NoCaptures,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.partitions_mapped(Op::here("map_partitions"), Numberless(self.given(function)))
    }

    /// [`Dataset::map_partitions_with_index`] with the given value first.
    #[track_caller]
    pub fn map_partitions_with_index<F, I>(&self, function: F) -> Dataset<impl Pipe<Item = I::Item> + use<P, E, F, I>>
    where
        F: Fn(&E::Value, u32, Items<P::Cursor>) -> I + NoCaptures,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.partitions_mapped(Op::here("map_partitions_with_index"), self.given(function))
    }
}
