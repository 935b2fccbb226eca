//! `distinct`: each item once.

use super::each::{At, Each, Itemwise, Nothing};
use super::keys::Keys;
use crate::call::Callable;
use crate::dataset::Dataset;
use crate::exchange::{Aggregate, Grouped, default_readers};
use crate::pipe::{Flow, Pipe};
use crate::row::Key;
use crate::ship::{Decoder, Encoder, Ship};
use tryworks_base::{Op, Result};

/// The pipe of [`Dataset::distinct`].
pub type Distinct<T> = Keys<Grouped<T, (), Once>>;

/// What `distinct` does to the occurrences of an item.
#[derive(Clone)]
pub struct Once;

impl Ship for Once {
    fn encode(&self, _: &mut Encoder) -> Result<()> {
        Ok(())
    }

    fn decode(_: &mut Decoder) -> Result<Self> {
        Ok(Once)
    }
}

impl Callable for Once {}

impl Aggregate<()> for Once {
    type State = ();
    type Out = ();
    const GROWS: bool = false;

    fn create(&self, _: &Op, (): ()) {}

    fn fold(&self, _: &Op, (): &mut (), (): ()) {}

    fn finish(&self, (): ()) {}
}

/// Makes a key of an item.
struct Alone;

impl<T: Send + 'static> Itemwise<T, Nothing> for Alone {
    type Out = (T, ());
    type State = ();

    #[inline(always)]
    fn each<S: FnMut((T, ())) -> Flow>(_: &mut (), _: &At, _: &Nothing, item: T, sink: &mut S) -> Result<Flow> {
        Ok(sink((item, ())))
    }
}

impl<P: Pipe> Dataset<P> {
    /// Keeps one of each set of equal items.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let mut rests = cx.range(0..100).map(|n| n % 3).distinct().collect()?;
    /// rests.sort();
    /// assert_eq!(rests, [0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> Dataset<Distinct<P::Item>>
    where
        P::Item: Key,
    {
        self.once(Op::here("distinct"), default_readers(&[&self.node]))
    }

    /// [`distinct`](Dataset::distinct) into a given number of partitions.
    #[track_caller]
    pub fn distinct_in(&self, partitions: u32) -> Dataset<Distinct<P::Item>>
    where
        P::Item: Key,
    {
        self.once(Op::here("distinct"), partitions)
    }

    fn once(&self, op: Op, readers: u32) -> Dataset<Distinct<P::Item>>
    where
        P::Item: Key,
    {
        let alone = Each::<_, _, Alone>::new(self.pipe.clone(), Nothing, op);
        // Pairs that are laid out by key have their equals in the same partition.
        let alone = Dataset { pipe: alone, node: self.node.clone(), runner: self.runner.clone() };
        let in_place = self.node.layout.is_some() && self.node.partitions == readers;
        let side = if in_place { alone.in_place() } else { alone.combined(Once, op, readers) };
        // One call makes one node. What comes out are pairs by the hash of their keys only if they were before.
        let grouped = alone.grouped(side, Once, op, readers, self.node.layout.filter(|_| in_place));
        Dataset {
            pipe: Each::new(grouped.pipe.clone(), Nothing, op),
            node: grouped.node.clone(),
            runner: grouped.runner.clone(),
        }
    }
}
