//! Cutting lineage at its shuffles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tryworks_base::ids::{CacheId, ExchangeId};
use tryworks_base::{Op, Result};
use tryworks_core::lineage::{Exchange, Input, Node, Shape};

/// What the planner asks about the state of the world: which blocks and caches exist already.
pub trait Facts {
    /// Whether the output of all map tasks of an exchange exists.
    fn made(&self, exchange: ExchangeId) -> bool;
    /// Whether all partitions of a cached dataset exist.
    fn cached(&self, cache: CacheId, partitions: u32) -> bool;
}

/// A job as stages, parents before children. The last stage gives the result.
pub struct Plan {
    /// The stages.
    pub stages: Vec<PlannedStage>,
}

/// A pipe, with what it reads and what it writes.
pub struct PlannedStage {
    /// The exchange that its tasks write. The last stage has none.
    pub exchange: Option<Arc<Exchange>>,
    /// The call that reads the exchange. The last stage has none, since an action reads it.
    pub reader: Option<Op>,
    /// Its operators, sources first.
    pub steps: Vec<Step>,
    /// The number of its logical partitions.
    pub partitions: u32,
    /// The stages that it reads, by their index in the plan.
    pub parents: Vec<usize>,
    /// Stages whose blocks exist, and which it reads only if cached partitions turn out to be damaged.
    pub spares: Vec<usize>,
    /// How its partitions become tasks.
    pub tasks: Tasks,
    /// Whether its blocks exist, so that it does not run.
    pub made: bool,
    /// Whether a running stage reads it.
    pub needed: bool,
    /// Whether it gives the same result when it runs again.
    pub deterministic: bool,
}

/// An operator in a stage.
pub struct Step {
    /// The operator.
    pub node: Arc<Node>,
    /// Whether its partitions are read from a cache, so that the steps before it do not run.
    pub cached: bool,
}

/// How the logical partitions of a stage become tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tasks {
    /// One task for each partition.
    Each,
    /// Runs of neighbouring partitions, until their measured input reaches this many bytes.
    BySize(u64),
}

/// How many bytes of input are enough for one task.
const TASK_BYTES: u64 = 4 << 20;

/// Plans a job over `target`.
///
/// # Errors
/// The first mistake in the calls that made the lineage.
pub fn plan(target: &Arc<Node>, facts: &dyn Facts) -> Result<Plan> {
    let mut plan = Plan { stages: Vec::new() };
    let mut placed = BTreeMap::<ExchangeId, usize>::new();
    // A stage is placed after all stages that it reads. Lineage may be deep, so a list holds the stages that wait.
    let mut waiting = vec![(target.clone(), None::<Read>)];
    while let Some((end, read)) = waiting.last().cloned() {
        let exchange = read.as_ref().map(|read| read.exchange.clone());
        if exchange.as_ref().is_some_and(|exchange| placed.contains_key(&exchange.id)) {
            waiting.pop();
            continue;
        }
        let Chain { steps, reads, spares } = chain(&end, facts)?;
        let missing: Vec<_> =
            reads.iter().chain(&spares).filter(|read| !placed.contains_key(&read.exchange.id)).cloned().collect();
        if !missing.is_empty() {
            waiting.extend(missing.into_iter().rev().map(|read| (read.exchange.input.clone(), Some(read))));
            continue;
        }
        waiting.pop();
        if let Some(exchange) = &exchange {
            placed.insert(exchange.id, plan.stages.len());
        }
        let places = |reads: &[Read]| reads.iter().filter_map(|read| placed.get(&read.exchange.id).copied()).collect();
        plan.stages.push(PlannedStage {
            tasks: packing(&steps, &reads, end.partitions),
            deterministic: !end.nondeterministic,
            partitions: end.partitions,
            parents: places(&reads),
            spares: places(&spares),
            made: exchange.as_ref().is_some_and(|exchange| facts.made(exchange.id)),
            needed: true,
            exchange,
            reader: read.map(|read| read.by),
            steps,
        });
    }
    plan.mark_needed();
    Ok(plan)
}

impl Plan {
    /// Marks the stages that running stages read. A stage behind a stage whose blocks exist, or behind cached
    /// partitions, is not needed unless a running stage reads it too. It stays in the plan: if a block is lost, the
    /// stage recomputes it.
    fn mark_needed(&mut self) {
        let mut needed = vec![false; self.stages.len()];
        if let Some(last) = needed.last_mut() {
            *last = true;
        }
        for at in (0..self.stages.len()).rev() {
            let stage = &mut self.stages[at];
            stage.needed = needed[at];
            if stage.runs() {
                stage.parents.iter().for_each(|&parent| needed[parent] = true);
            }
        }
    }
}

impl PlannedStage {
    /// Whether it has to run, as long as no block is lost.
    pub fn runs(&self) -> bool {
        self.needed && !self.made
    }
}

struct Chain {
    steps: Vec<Step>,
    reads: Vec<Read>,
    /// Exchanges behind cached partitions. Those without blocks are left out, since they would have to be computed
    /// first.
    spares: Vec<Read>,
}

/// An exchange, with the call that reads it.
#[derive(Clone)]
struct Read {
    exchange: Arc<Exchange>,
    by: Op,
}

/// Collects the operators from `end` back to shuffles, sources and cached partitions, each once, and the shuffles
/// behind those.
fn chain(end: &Arc<Node>, facts: &dyn Facts) -> Result<Chain> {
    let mut chain = Chain { steps: Vec::new(), reads: Vec::new(), spares: Vec::new() };
    let mut seen = BTreeSet::new();
    let mut read = BTreeSet::new();
    let mut open = vec![(end.clone(), false)];
    let mut kept = Vec::new();
    while let Some((node, inputs_done)) = open.pop() {
        let cached = node.cache.as_ref().is_some_and(|cache| facts.cached(cache.id, node.partitions));
        if inputs_done {
            chain.steps.push(Step { node, cached });
            continue;
        }
        if !seen.insert(Arc::as_ptr(&node)) {
            continue;
        }
        if let Some(fault) = &node.fault {
            return Err(fault.clone());
        }
        // Back on the list, behind its inputs: a step is added after the steps that it reads.
        open.push((node.clone(), true));
        if cached {
            kept.push(node);
            continue;
        }
        let mut narrow = Vec::new();
        for input in &node.inputs {
            match input {
                Input::Narrow(node) => narrow.push((node.clone(), false)),
                Input::Shuffle(exchange) => {
                    if read.insert(exchange.id) {
                        chain.reads.push(Read { exchange: exchange.clone(), by: node.op });
                    }
                }
            }
        }
        open.extend(narrow.into_iter().rev());
    }
    while let Some(node) = kept.pop() {
        for input in &node.inputs {
            match input {
                Input::Narrow(node) if seen.insert(Arc::as_ptr(node)) => kept.push(node.clone()),
                Input::Shuffle(exchange) if facts.made(exchange.id) && read.insert(exchange.id) => {
                    chain.spares.push(Read { exchange: exchange.clone(), by: node.op });
                }
                _ => {}
            }
        }
    }
    Ok(chain)
}

/// Partitions that only read shuffles have measured sizes, and small ones share a task. A source's splits are already
/// cut to be tasks. A user who deals items out over a number of partitions wants that many tasks.
fn packing(steps: &[Step], reads: &[Read], partitions: u32) -> Tasks {
    let source = steps.iter().any(|step| step.node.shape == Shape::Source || step.cached);
    let alike = steps.iter().all(|step| step.node.partitions == partitions);
    let dealt = reads.iter().any(|read| read.exchange.dealt);
    if reads.is_empty() || source || dealt || !alike { Tasks::Each } else { Tasks::BySize(TASK_BYTES) }
}
