//! Values that a program gives explicitly to the function of the next operator.

pub use crate::call::Env;
use crate::call::{Given, Init, Value};
use crate::dataset::Dataset;
use crate::lineage::Node;
use crate::pipe::Pipe;
use crate::runner::guarded;
use crate::ship::{NoCaptures, captures_nothing};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tryworks_base::{Error, Op, UserError, codec};

/// A dataset, and a value for the functions of its next operator or action. Every operator and action that takes a
/// function has a form here. The function then gets a reference to the value as its first argument.
#[must_use = "a dataset is a description: nothing runs until an action is called on it"]
pub struct With<P: Pipe, E> {
    pub(crate) data: Dataset<P>,
    pub(crate) env: E,
}

/// # Values for functions
impl<P: Pipe, E: Env> With<P, E> {
    pub(crate) fn given<F>(&self, function: F) -> Given<E, F> {
        Given { env: self.env.clone(), function }
    }
}

/// # Values for functions
impl<P: Pipe> Dataset<P> {
    /// Gives `value` to the function of the next operator. The value is sent once per stage and worker.
    ///
    /// The rules for a [`Row`](crate::row::Row) hold for the value, too, except that it need not be `Clone`. If serde's
    /// attributes keep it from coming back as it was, the action returns an error, on threads as on a cluster. A value
    /// of more than a mebibyte is checked only if the context checks rows.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let factor = 3;
    /// assert_eq!(cx.range(0..4).with(factor).map(|factor, n| factor * n).collect()?, [0, 3, 6, 9]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn with<V: Serialize + DeserializeOwned + Send + Sync + 'static>(
        &self,
        value: V,
    ) -> With<P, impl Env<Value = V> + use<P, V>> {
        With { data: self.giving(Op::here("with"), &value), env: Value(Arc::new(value)) }
    }

    /// Gives the function of the next operator a value that serde cannot carry. `make` makes it from `config`, once per
    /// stage and worker.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let parsed = cx.range(0..2).with_init("40".to_string(), |text| text.parse::<u64>());
    /// assert_eq!(parsed.map(|base, n| base + n).collect()?, [40, 41]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn with_init<C, V, X, F>(&self, config: C, make: F) -> With<P, impl Env<Value = V> + use<P, C, V, X, F>>
    where
        C: Serialize + DeserializeOwned + Send + Sync + 'static,
        V: Send + Sync + 'static,
        X: Into<UserError> + 'static,
        F: Fn(&C) -> Result<V, X> + NoCaptures,
    {
        const { captures_nothing::<F>("this closure captures something: pass it as a part of the configuration") }
        With { data: self.giving(Op::here("with_init"), &config), env: Init::new(config, make) }
    }

    /// Checks whether the codec carries a value that the program gives to tasks.
    pub(crate) fn prove_given<V: Serialize + DeserializeOwned>(&self, op: Op, value: &V) -> tryworks_base::Result<()> {
        let (every, travels) = (self.runner.checks_rows(), self.runner.sends_stages());
        let proven = guarded(|code| self.runner.guard(op, code), || codec::prove_given(value, every, travels));
        proven.map_err(|error| error.at(op.site))
    }

    /// This dataset. If the codec does not carry `value`, the dataset has a fault, which every action returns.
    pub(crate) fn giving<V: Serialize + DeserializeOwned>(&self, op: Op, value: &V) -> Self {
        self.faulty(op, self.prove_given(op, value).err())
    }

    /// This dataset, with a mistake in the call of `op`, if there is one.
    pub(crate) fn faulty(&self, op: Op, fault: Option<Error>) -> Self {
        if fault.is_none() {
            return self.clone();
        }
        let node = Node::narrow(op, &self.node).with_partitioning(self.node.partitioning).with_fault(fault);
        Dataset { node: Arc::new(node), ..self.clone() }
    }
}
