//! `top` and `take_ordered`: the greatest items, and the least.

use super::first_few::{FirstFew, Ranked};
use super::job::{Background, Job, PartAction, bytes_of};
use crate::dataset::Dataset;
use crate::exchange::unless_failed;
use crate::heap::heap_bytes;
use crate::pipe::{Pipe, drive};
use crate::ship::ship;
use crate::task::TaskContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cmp::{Ordering, Reverse};
use std::marker::PhantomData;
use tryworks_base::codec::prove_rows;
use tryworks_base::{Aspect, Op, Result};

/// The direction of an order of items.
trait Direction<T>: Send + Sync + 'static {
    type Order: Ord + Serialize;
    fn wrap(item: T) -> Self::Order;
    fn unwrap(item: Self::Order) -> T;
}

/// The least items come first.
struct Ascending;
/// The greatest items come first.
struct Descending;

impl<T: Ord + Serialize> Direction<T> for Ascending {
    type Order = T;

    fn wrap(item: T) -> T {
        item
    }

    fn unwrap(item: T) -> T {
        item
    }
}

impl<T: Ord + Serialize> Direction<T> for Descending {
    type Order = Reverse<T>;

    fn wrap(item: T) -> Reverse<T> {
        Reverse(item)
    }

    fn unwrap(item: Reverse<T>) -> T {
        item.0
    }
}

/// An item in its own order.
struct Own<O>(O);

impl<O: Ord + Serialize> Ranked for Own<O> {
    type Order = O;

    #[inline(always)]
    fn compare(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }

    fn heap(&self) -> u64 {
        heap_bytes(&self.0)
    }
}

struct Top<D> {
    n: usize,
    op: Op,
    direction: PhantomData<fn() -> D>,
}

ship!([D] Top<D> { n: value, op: value, direction: none });

fn finish<T, D: Direction<T>>(first: FirstFew<'_, Own<D::Order>>) -> Result<Vec<T>> {
    Ok(first.finish()?.into_iter().map(|item| D::unwrap(item.0)).collect())
}

impl<P: Pipe<Item: Ord + Serialize + DeserializeOwned>, D: Direction<P::Item>> PartAction<P> for Top<D> {
    type Out = Vec<P::Item>;

    fn run(&self, mut cursor: P::Cursor, task: &TaskContext) -> Result<Vec<P::Item>> {
        let (mut first, mut failed) = (FirstFew::new(&self.op, self.n, Some(task)), None);
        drive(&mut cursor, task, &mut |item| unless_failed(first.push(Own(D::wrap(item))), &mut failed))?;
        failed.map_or(Ok(()), Err)?;
        finish::<_, D>(first)
    }

    fn aspects(&self) -> Vec<Aspect> {
        vec![Aspect::new("number of items", self.n)]
    }

    fn prove(items: &mut Vec<P::Item>, check: bool) -> Result<()> {
        prove_rows(items, check)
    }

    fn bytes(items: &Vec<P::Item>) -> u64 {
        bytes_of(items)
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Dataset<P> {
    /// The `n` greatest items, in descending order; of equal items, earlier ones come first. For floats, see
    /// [`total`](crate::total); for the order of a key, [`take_ordered_by`](Dataset::take_ordered_by).
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..9).map(|n| n * 5 % 9).top(2)?, [8, 7]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn top(&self, n: usize) -> Result<Vec<P::Item>>
    where
        P::Item: Ord,
    {
        self.background().topped::<Descending>(Op::here("top"), n)?.wait()
    }

    /// The `n` least items, in ascending order; of equal items, earlier ones come first.
    ///
    /// # Errors
    /// Why the job failed.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.range(0..9).map(|n| n * 5 % 9).take_ordered(2)?, [0, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_ordered(&self, n: usize) -> Result<Vec<P::Item>>
    where
        P::Item: Ord,
    {
        self.background().topped::<Ascending>(Op::here("take_ordered"), n)?.wait()
    }
}

/// # Actions
impl<P: Pipe<Item: Serialize + DeserializeOwned>> Background<'_, P> {
    /// [`Dataset::top`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn top(&self, n: usize) -> Result<Job<Vec<P::Item>>>
    where
        P::Item: Ord,
    {
        self.topped::<Descending>(Op::here("top"), n)
    }

    /// [`Dataset::take_ordered`] in the background.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn take_ordered(&self, n: usize) -> Result<Job<Vec<P::Item>>>
    where
        P::Item: Ord,
    {
        self.topped::<Ascending>(Op::here("take_ordered"), n)
    }

    fn topped<D: Direction<P::Item>>(&self, op: Op, n: usize) -> Result<Job<Vec<P::Item>>>
    where
        P::Item: Ord,
    {
        self.begin_job(op, Top::<D> { n, op, direction: PhantomData }, move |parts| {
            let mut first = FirstFew::new(&op, n, None);
            for item in parts.in_order()?.into_iter().flatten() {
                first.push(Own(D::wrap(item)))?;
            }
            finish::<_, D>(first)
        })
    }
}
