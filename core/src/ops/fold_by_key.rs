//! `fold_by_key`: folds the values of each key into one, beginning with a given value.

use crate::call::{Env, NoValue};
use crate::dataset::Dataset;
use crate::pipe::Pipe;
use crate::row::{Key, Row};
use crate::ship::{GIVE_IT, NoCaptures, captures_nothing};
use crate::with::With;
use tryworks_base::Op;

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>> Dataset<P> {
    /// Folds the values of each key into `zero`. Where that helps, each map task folds its own values before the
    /// shuffle. So `zero` may take part any number of times, and has to be neutral.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let pairs = cx.range(0..10).map(|n| (n % 2, n));
    /// assert_eq!(pairs.fold_by_key(0, |a, b| a.max(b)).sort_by_key().collect()?, [(0, 8), (1, 9)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn fold_by_key<F: Fn(V, V) -> V + NoCaptures>(
        &self,
        zero: V,
        function: F,
    ) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P, F>>
    where
        K: Key,
        V: Row,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        let fold = move |(): &(), a, b| function(a, b);
        self.aggregated_by_key(Op::here("fold_by_key"), NoValue, zero, fold, fold)
    }
}

/// # Pairs
impl<K: Send + 'static, V: Send + 'static, P: Pipe<Item = (K, V)>, E: Env> With<P, E> {
    /// [`Dataset::fold_by_key`] with the given value first.
    #[track_caller]
    pub fn fold_by_key<F: Fn(&E::Value, V, V) -> V + NoCaptures>(
        &self,
        zero: V,
        function: F,
    ) -> Dataset<impl Pipe<Item = (K, V)> + use<K, V, P, E, F>>
    where
        K: Key,
        V: Row,
    {
        const { captures_nothing::<F>(GIVE_IT) }
        self.data.aggregated_by_key(Op::here("fold_by_key"), self.env.clone(), zero, function, function)
    }
}
