//! Lineage: the graph of how a dataset is made. It suffices to plan the dataset and to recompute any partition.

use crate::runner::{Releasable, Runner};
use crate::stage::Stage;
use crate::trampoline::drop_flat;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tryworks_base::ids::{CacheId, ExchangeId};
use tryworks_base::{Error, Op};

/// What the planner knows of an operator: how its partitions depend on those of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The operator has no input.
    Source,
    /// A partition is made from certain partitions of the inputs, in the same task.
    Narrow,
    /// A partition is made from all partitions of a shuffled input.
    Wide,
}

/// How a dataset of pairs is known to be divided into partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Partitioning {
    /// By the hash of the key, into this many partitions.
    Hash(u32),
    /// By ranges of the key, with the bounds of the exchange with this number.
    Range(ExchangeId),
}

/// One call of an operator.
pub struct Node {
    /// The operator, and where it was called.
    pub op: Op,
    /// Its shape.
    pub shape: Shape,
    /// The number of logical partitions.
    pub partitions: u32,
    /// How keys are divided into the partitions, if that is known.
    pub partitioning: Option<Partitioning>,
    /// What the operator reads.
    pub inputs: Vec<Input>,
    /// What `explain()` shows after the name.
    pub detail: String,
    /// A mistake in the call. The action returns it.
    pub fault: Option<Error>,
    /// Whether recomputing it may give other items.
    pub nondeterministic: bool,
    /// The cache that keeps the computed partitions.
    pub cache: Option<Arc<Cache>>,
    /// A number for this position in the lineage, which seeds random operators. It is the same in every run.
    pub position: u64,
}

/// An input of an operator.
#[derive(Clone)]
pub enum Input {
    /// A dataset that the same task reads.
    Narrow(Arc<Node>),
    /// A shuffled dataset, read from the blocks of an exchange.
    Shuffle(Arc<Exchange>),
}

/// A shuffle: the dataset, what map tasks do with it, and how many readers there are. Its blocks are deleted when the
/// last reference to it is dropped.
pub struct Exchange {
    /// Its id in this process.
    pub id: ExchangeId,
    /// The dataset that is shuffled.
    pub input: Arc<Node>,
    /// What the map tasks run.
    pub stage: Arc<dyn Stage>,
    /// The number of partitions of the reading stage.
    pub readers: u32,
    /// What `explain()` says about it, such as `by hash into 64`.
    pub detail: String,
    /// Whether items are dealt out, by `repartition`. The user then wants each partition to be a task.
    pub dealt: bool,
    runner: Arc<dyn Runner>,
}

/// A cached dataset. Its partitions are deleted when the last reference to it is dropped.
pub struct Cache {
    /// Its id in this process.
    pub id: CacheId,
    runner: Arc<dyn Runner>,
}

fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// The most partitions of a dataset.
pub const MOST_PARTITIONS: u32 = 1 << 24;

/// The default number of partitions of a keyed operator: that of the largest input. But if an input is already
/// partitioned by hash and has at least a tenth of these partitions, it is that input's number, so that this input need
/// not be shuffled.
pub(crate) fn default_readers(inputs: &[&Arc<Node>]) -> u32 {
    let largest = inputs.iter().map(|node| node.partitions).max().unwrap_or(0).max(1);
    let partitioned = inputs.iter().filter_map(|node| match node.partitioning {
        Some(Partitioning::Hash(partitions)) if partitions >= largest.div_ceil(10) => Some(partitions),
        _ => None,
    });
    partitioned.max().unwrap_or(largest)
}

/// The mistake of asking for more than [`MOST_PARTITIONS`].
fn too_many(op: Op, partitions: u32) -> Option<Error> {
    let message =
        format!("{}: a dataset has at most {MOST_PARTITIONS} partitions, and {partitions} were asked for", op.name);
    (partitions > MOST_PARTITIONS).then_some(op.fault(message))
}

impl Node {
    /// A call of `op` over `inputs`. It is nondeterministic if any input is. Partitioning, detail and cache are none.
    pub fn new(op: Op, shape: Shape, partitions: u32, inputs: Vec<Input>) -> Self {
        let hash = FixedState::with_seed(7);
        let mut position = hash.hash_one((op.name, partitions));
        let mut nondeterministic = false;
        for input in &inputs {
            let from = match input {
                Input::Narrow(node) => node,
                Input::Shuffle(exchange) => &exchange.input,
            };
            position = hash.hash_one((position, from.position));
            nondeterministic |= from.nondeterministic;
        }
        Node {
            op,
            shape,
            partitions,
            partitioning: None,
            inputs,
            detail: String::new(),
            fault: too_many(op, partitions),
            nondeterministic,
            cache: None,
            position,
        }
    }

    /// A source.
    pub fn source(op: Op, partitions: u32, detail: String) -> Self {
        Node::new(op, Shape::Source, partitions, Vec::new()).with_detail(detail)
    }

    /// An operator whose partition `i` is made from partition `i` of `input`.
    pub fn narrow(op: Op, input: &Arc<Node>) -> Self {
        Node::new(op, Shape::Narrow, input.partitions, vec![Input::Narrow(input.clone())])
    }

    /// Sets the partitioning.
    #[must_use]
    pub fn with_partitioning(mut self, partitioning: Option<Partitioning>) -> Self {
        self.partitioning = partitioning;
        self
    }

    /// Adds a mistake, unless there is one already.
    #[must_use]
    pub fn with_fault(mut self, fault: Option<Error>) -> Self {
        self.fault = self.fault.take().or(fault);
        self
    }

    /// Sets what `explain()` shows after the name.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop_flat(std::mem::take(&mut self.inputs));
    }
}

impl Exchange {
    /// A new shuffle of `input`.
    pub fn new(
        input: &Arc<Node>,
        stage: Arc<dyn Stage>,
        readers: u32,
        detail: impl Into<String>,
        runner: &Arc<dyn Runner>,
    ) -> Self {
        let (input, detail, runner) = (input.clone(), detail.into(), runner.clone());
        Exchange { id: ExchangeId(fresh()), input, stage, readers, detail, dealt: false, runner }
    }
}

/// Replaces a stage while the stage is dropped.
struct Gone;

impl Stage for Gone {
    fn run(&self, _: u32, _: &crate::task::TaskContext) -> tryworks_base::Result<crate::stage::Output> {
        Err(Error::Bug("a dropped stage was run".into()))
    }

    fn ship(&self) -> tryworks_base::Result<crate::ship::Parcel> {
        Err(Error::Bug("a dropped stage was shipped".into()))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.runner.release(Releasable::Exchange(self.id));
        drop_flat(std::mem::replace(&mut self.stage, Arc::new(Gone)));
    }
}

impl Cache {
    /// A new cache.
    pub(crate) fn new(runner: &Arc<dyn Runner>) -> Arc<Self> {
        Arc::new(Cache { id: CacheId(fresh()), runner: runner.clone() })
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.runner.release(Releasable::Cache(self.id));
    }
}
