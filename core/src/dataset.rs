//! Datasets: lazy, immutable, partitioned collections. Methods describe work; only actions run it.
//!
//! Each operator lives in the file of its name under `ops`, each action under `actions`.

use crate::lineage::{Node, default_readers};
use crate::pipe::Pipe;
use crate::runner::{PlanForm, Runner, guarded};
use crate::source::{Read, Source};
use std::sync::Arc;
use tryworks_base::{Error, Op, Result};

/// A lazy, immutable, partitioned collection of `P::Item`.
///
/// `P` is the chain of operators since the last shuffle, as one type, so that it compiles into one loop. Methods take
/// `&self`, so a program can use a dataset any number of times. Cloning one costs a few reference counts.
#[must_use = "a dataset is a description: nothing runs until an action is called on it"]
pub struct Dataset<P: Pipe> {
    pub(crate) pipe: P,
    pub(crate) node: Arc<Node>,
    pub(crate) runner: Arc<dyn Runner>,
    /// What [`shuffle_into`](Dataset::shuffle_into) said, until the next operator takes it.
    pub(crate) shuffle_into: Option<u32>,
}

impl<P: Pipe> Clone for Dataset<P> {
    fn clone(&self) -> Self {
        self.of(self.pipe.clone())
    }
}

impl<P: Pipe> std::fmt::Debug for Dataset<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Dataset of {} in {} partitions, by `{}`",
            std::any::type_name::<P::Item>(),
            self.node.partitions,
            self.node.op.name
        )
    }
}

#[cold]
#[inline(never)]
fn not_taken(partitions: u32, op: Op, why: &str) -> Error {
    op.fault(format!("{}: `shuffle_into({partitions})` {why}", op.name))
}

/// # The dataset and its plan
impl<S: Source> Dataset<Read<S>> {
    /// The dataset that a source yields. `fault` is a mistake that was found while the source was made. The action
    /// returns it, and so it does if the codec cannot carry the source.
    #[track_caller]
    pub fn from_source(runner: Arc<dyn Runner>, name: &'static str, mut source: S, fault: Option<Error>) -> Self {
        let op = Op::here(name);
        let every = runner.checks_rows();
        let proven = |source: &mut S| guarded(|code| runner.guard(op, code), || source.prove(every));
        let fault = fault.or_else(|| proven(&mut source).err()).map(|error| error.at(op.site));
        let node = Node::source(op, source.partitions(), source.describe()).with_fault(fault);
        Dataset { pipe: Read::new(source, op), node: Arc::new(node), runner, shuffle_into: None }
    }
}

/// # The dataset and its plan
impl<P: Pipe> Dataset<P> {
    /// The dataset of an operator over this one that uses `shuffle_into`.
    pub(crate) fn chain<Q: Pipe>(&self, pipe: Q, node: Node) -> Dataset<Q> {
        Dataset { pipe, node: Arc::new(node), runner: self.runner.clone(), shuffle_into: None }
    }

    /// The dataset of an operator over this one that does not use `shuffle_into`. Calling `shuffle_into` before it is a
    /// fault of the plan.
    pub(crate) fn narrow<Q: Pipe>(&self, pipe: Q, node: Node) -> Dataset<Q> {
        let fault = self.misplaced(node.op);
        self.chain(pipe, node.with_fault(fault))
    }

    /// Another pipe for the same call, for operators that are built in several steps.
    pub(crate) fn of<Q: Pipe>(&self, pipe: Q) -> Dataset<Q> {
        let (node, runner) = (self.node.clone(), self.runner.clone());
        Dataset { pipe, node, runner, shuffle_into: self.shuffle_into }
    }

    /// How many partitions a shuffle of this dataset makes.
    pub(crate) fn readers(&self) -> u32 {
        self.shuffle_into.unwrap_or_else(|| default_readers(&[&self.node]))
    }

    /// The mistake if [`shuffle_into`](Dataset::shuffle_into) was called right before `op`, which does not use it.
    pub(crate) fn misplaced(&self, op: Op) -> Option<Error> {
        self.not_taken(op, "does not apply to it; call it right before the operator that shuffles")
    }

    /// The mistake if [`shuffle_into`](Dataset::shuffle_into) was called on the right side of `op`.
    pub(crate) fn beside(&self, op: Op) -> Option<Error> {
        self.not_taken(op, "was called on its right side; call it on the left one, before an operator that shuffles")
    }

    fn not_taken(&self, op: Op, why: &str) -> Option<Error> {
        self.shuffle_into.map(|partitions| not_taken(partitions, op, why))
    }

    /// Sets how many partitions the shuffle of the next operator makes. By default, it makes as many as the largest
    /// input has. Any number gives the same items.
    ///
    /// Call it right before an operator that shuffles by key or sorts. Before any other operator, and before an action,
    /// it is a mistake in the plan, which the action returns.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let rests = cx.range(0..100).map(|n| n % 7).shuffle_into(3).distinct();
    /// assert_eq!((rests.partitions(), rests.count()?), (3, 7));
    /// let error = cx.range(0..100).shuffle_into(3).count().unwrap_err();
    /// assert!(error.to_string().starts_with("count: `shuffle_into(3)` does not apply to it"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn shuffle_into(&self, partitions: u32) -> Self {
        Dataset { shuffle_into: Some(partitions), ..self.clone() }
    }

    /// The number of logical partitions. It depends on the input alone.
    pub fn partitions(&self) -> u32 {
        self.node.partitions
    }

    /// Marks the dataset as nondeterministic: recomputing it may give other items. After a loss, everything derived
    /// from it is recomputed in full, so that no answer mixes two versions.
    #[track_caller]
    pub fn nondeterministic(&self) -> Self {
        let mut node = Node::narrow(Op::here("nondeterministic"), &self.node).with_partitioning(self.node.partitioning);
        node.nondeterministic = true;
        self.narrow(self.pipe.clone(), node)
    }

    /// The plan of an action on this dataset, as text. The same dataset always gives the same text.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn explain(&self) -> Result<String> {
        self.explained(Op::here("explain"), PlanForm::Text)
    }

    /// The plan as a Graphviz graph.
    ///
    /// # Errors
    /// If the plan has a mistake.
    #[track_caller]
    pub fn explain_dot(&self) -> Result<String> {
        self.explained(Op::here("explain_dot"), PlanForm::Dot)
    }

    fn explained(&self, op: Op, form: PlanForm) -> Result<String> {
        self.misplaced(op).map_or_else(|| self.runner.explain(&self.node, form), Err)
    }
}
