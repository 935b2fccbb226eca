//! Datasets: lazy, immutable, partitioned collections. Methods describe work; only actions make it run.
//!
//! Each operator lives in the file of its name under `ops`, each action under `actions`.

use crate::data::{Boxed, Data};
use crate::lineage::Node;
use crate::pipe::Pipe;
use crate::runner::{PlanForm, Runner};
use crate::source::{From, Source};
use std::sync::Arc;
use tryworks_base::{Error, Op, Result};

/// A lazy, immutable, partitioned collection of `P::Item`.
///
/// `P` is the chain of operators since the last shuffle, as one type, so that it compiles into one loop. Methods
/// take `&self`: a dataset can be used any number of times, and cloning it costs a few reference counts.
#[must_use = "a dataset is a description: nothing runs until an action is called on it"]
pub struct Dataset<P: Pipe> {
    pub(crate) pipe: P,
    pub(crate) node: Arc<Node>,
    pub(crate) runner: Arc<dyn Runner>,
}

impl<P: Pipe> Clone for Dataset<P> {
    fn clone(&self) -> Self {
        Dataset { pipe: self.pipe.clone(), node: self.node.clone(), runner: self.runner.clone() }
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

impl<S: Source> Dataset<From<S>> {
    /// The dataset that a source yields. `fault` is a mistake found while the source was made: it is told at the
    /// action, as is a source that the codec cannot carry.
    #[track_caller]
    pub fn from_source(runner: Arc<dyn Runner>, name: &'static str, mut source: S, fault: Option<Error>) -> Self {
        let op = Op::here(name);
        let fault = fault.or_else(|| source.prove(runner.checks_rows()).err()).map(|error| error.at(op.site));
        let node = Node::source(op, source.partitions(), source.describe()).with_fault(fault);
        Dataset { pipe: From::new(source), node: Arc::new(node), runner }
    }
}

impl<P: Pipe> Dataset<P> {
    /// A dataset that comes from this one by a narrow operator.
    pub(crate) fn chain<Q: Pipe>(&self, pipe: Q, node: Node) -> Dataset<Q> {
        Dataset { pipe, node: Arc::new(node), runner: self.runner.clone() }
    }

    /// The number of logical partitions: a function of the input alone.
    pub fn partitions(&self) -> u32 {
        self.node.partitions
    }

    /// The same dataset with its pipe type erased, for struct fields, loops and unions of many.
    pub fn boxed(&self) -> Data<P::Item> {
        Dataset { pipe: Boxed::new(&self.pipe), node: self.node.clone(), runner: self.runner.clone() }
    }

    /// Marks the dataset as nondeterministic: recomputing it may give other items. After a loss, everything derived
    /// from it is recomputed in full, so that no answer mixes two versions.
    #[track_caller]
    pub fn nondeterministic(&self) -> Self {
        let mut node = Node::narrow(Op::here("nondeterministic"), &self.node).with_layout(self.node.layout);
        node.nondeterministic = true;
        self.chain(self.pipe.clone(), node)
    }

    /// The plan by which an action on this dataset would run, as stable text.
    ///
    /// # Errors
    /// If the plan has a mistake.
    pub fn explain(&self) -> Result<String> {
        self.runner.explain(&self.node, PlanForm::Text)
    }

    /// The plan as a graph in the language of Graphviz.
    ///
    /// # Errors
    /// If the plan has a mistake.
    pub fn explain_dot(&self) -> Result<String> {
        self.runner.explain(&self.node, PlanForm::Dot)
    }
}
