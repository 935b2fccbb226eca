//! Cutting lineage at its shuffles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tryworks_base::{Op, Result};
use tryworks_core::lineage::{Exchange, Input, Node, Shape};

/// What the planner asks of the world: which blocks exist already.
pub trait Facts {
    /// Whether all output of the map tasks of an exchange is there.
    fn made(&self, exchange: u64) -> bool;
    /// Whether all partitions of a cached dataset are there.
    fn cached(&self, cache: u64, partitions: u32) -> bool;
}

/// A job as stages, parents before children; the last one gives the result.
pub struct Plan {
    /// The stages.
    pub stages: Vec<PlannedStage>,
}

/// A pipe with what it reads and where it ends.
pub struct PlannedStage {
    /// What its tasks write, but for the last stage.
    pub exchange: Option<Arc<Exchange>>,
    /// The call that reads it, but for the last stage, which an action reads.
    pub reader: Option<Op>,
    /// Its operators, sources first.
    pub steps: Vec<Step>,
    /// The number of its logical partitions.
    pub partitions: u32,
    /// The stages that it reads, by their place in the plan.
    pub parents: Vec<usize>,
    /// The stages whose blocks are there, and that it reads only if kept partitions turn out to be damaged.
    pub spares: Vec<usize>,
    /// How its partitions become tasks.
    pub tasks: Tasks,
    /// Whether its blocks are there, so that it does not run.
    pub made: bool,
    /// Whether a stage that runs reads it.
    pub needed: bool,
    /// Whether it gives the same when it runs again.
    pub deterministic: bool,
}

/// An operator in a stage.
pub struct Step {
    /// The operator.
    pub node: Arc<Node>,
    /// Whether its partitions are read from a cache, so that what is before it does not run.
    pub cached: bool,
}

/// How the logical partitions of a stage become tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tasks {
    /// One task for each.
    Each,
    /// Runs of neighbours, until their measured input reaches so many bytes.
    BySize(u64),
}

/// The input that is enough for one task.
const TASK_BYTES: u64 = 4 << 20;

/// Plans a job over `target`.
///
/// # Errors
/// The first mistake among the calls that made the lineage.
pub fn plan(target: &Arc<Node>, facts: &dyn Facts) -> Result<Plan> {
    let mut plan = Plan { stages: Vec::new() };
    let mut placed = BTreeMap::<u64, usize>::new();
    // A stage is placed when all that it reads is. Lineage may be deep, so the stages that wait are kept in a list.
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
    /// What made stages read is not needed, unless another stage reads it too, and neither is what is behind kept
    /// partitions. Such stages stay in the plan: should a block be lost, they are how it is made again.
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
    /// What is behind kept partitions. What does not exist of it is left out, since it would have to be made first.
    spares: Vec<Read>,
}

/// An exchange with the call that reads it.
#[derive(Clone)]
struct Read {
    exchange: Arc<Exchange>,
    by: Op,
}

/// The operators from `end` back to shuffles, sources and kept partitions, each once, and the shuffles behind those.
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

/// Partitions that are only read from shuffles have measured sizes, and small ones share a task. A source's splits
/// are cut to be tasks, and whoever dealt items out over so many partitions meant so many tasks.
fn packing(steps: &[Step], reads: &[Read], partitions: u32) -> Tasks {
    let source = steps.iter().any(|step| step.node.shape == Shape::Source || step.cached);
    let alike = steps.iter().all(|step| step.node.partitions == partitions);
    let dealt = reads.iter().any(|read| read.exchange.dealt);
    if reads.is_empty() || source || dealt || !alike { Tasks::Each } else { Tasks::BySize(TASK_BYTES) }
}
