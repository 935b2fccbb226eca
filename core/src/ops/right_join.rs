//! `right_join`: pairs the values of equal keys of two datasets, and keeps the right values without a match.

use super::each::Each;
use super::map_values::MappingValues;
use crate::dataset::Dataset;
use crate::join::Outer;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::Plain;
use tryworks_base::Op;

/// # Pairs of two datasets
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// As [`join`](Dataset::join), and each value of `other` whose key this dataset does not have comes out once, with
    /// `None`. The order is that of `other`. Put the smaller side on the left: it is held in memory.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let ages = cx.parallelize(vec![(1, 30), (2, 40)]);
    /// let names = cx.parallelize(vec![(2, 'A'), (3, 'P')]);
    /// assert_eq!(ages.right_join(&names).sort_by_key().collect()?, [(2, (Some(40), 'A')), (3, (None, 'P'))]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn right_join<W: Row, Q: Pipe<Item = (K, W)>>(
        &self,
        other: &Dataset<Q>,
    ) -> Dataset<impl Pipe<Item = (K, (Option<V>, W))> + use<K, V, P, W, Q>>
    where
        K: Key,
        V: Row,
    {
        let (op, readers) = (Op::here("right_join"), self.join_readers(&other.node));
        let (left, right) = (other.scattered(readers), self.scattered(readers));
        let joined = self.joined::<Outer, _, _, _, _>(op, readers, other, left, right);
        let swapped = |(right, left): (W, Option<V>)| (left, right);
        joined.of(Each::<_, _, MappingValues>::new(joined.pipe.clone(), Plain(swapped), op))
    }
}
