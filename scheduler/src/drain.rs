//! Draining: an engine was asked to leave. Its tasks end, its blocks are moved, and then it may go.

use super::{
    Scheduler,
    action::Action,
    event::{FetchFailure, Gate, Move},
    outputs::BlockLocation,
    partitions::Partitions,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tryworks_base::ids::{AttemptId, EngineId, OutputId};

/// How many blocks of an engine are copied at once.
const MOVES: usize = 16;

/// What an engine that leaves still has to do.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// Blocks to move. Some may be gone by now.
    todo: VecDeque<Block>,
    /// Blocks being copied, and their new engines.
    moving: BTreeMap<(OutputId, AttemptId), (Partitions, EngineId)>,
    /// Blocks that were moved. They are deleted here when no running task may still read them here.
    left: BTreeMap<AttemptId, OutputId>,
    /// `Drained` was said.
    reported: bool,
}

#[derive(Debug)]
struct Block {
    output: OutputId,
    partitions: Partitions,
    made_by: AttemptId,
}

/// How far an engine is that was asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Launches on it that are not reported yet.
    pub running: u32,
    /// Blocks that wait to be moved.
    pub waiting: u32,
    /// Blocks being copied.
    pub moving: u32,
    /// The engine cannot leave: there is no other engine that could take its blocks.
    pub nowhere: bool,
    /// The engine may leave.
    pub drained: bool,
}

impl<E: Clone> Scheduler<E> {
    pub(super) fn set_gate(&mut self, id: EngineId, gate: Gate, out: &mut Vec<Action<E>>) {
        let Some(row) = self.engines.row_of(id) else { return };
        let Some(before) = self.engines.set_gate(row, gate) else { return };
        if before == gate {
            return;
        }
        match (before.is_able(), gate.is_able()) {
            (true, false) => self.wait_again(Some(row)),
            (false, true) => self.wait_again(None),
            _ => {}
        }
        if gate == Gate::Draining {
            let drain = Drain { todo: self.blocks_of(id), ..Drain::default() };
            self.draining.insert(row, drain);
        } else if let Some(drain) = self.draining.remove(&row) {
            // The engine stays after all.
            out.extend(drain.left.into_keys().map(|attempt| Action::Discard { engine: id, attempt }));
        }
    }

    fn blocks_of(&self, engine: EngineId) -> VecDeque<Block> {
        let mut blocks = VecDeque::new();
        for (&output, record) in self.outputs.iter().filter(|(_, record)| record.is_on(engine)) {
            let mut launches: BTreeMap<AttemptId, Vec<u32>> = BTreeMap::new();
            for (place, partition) in record.places().iter().zip(0..) {
                if let Some(at) = place.location().filter(|at| at.engine == engine) {
                    launches.entry(at.made_by).or_default().push(partition);
                }
            }
            let block = |(made_by, partitions): (AttemptId, Vec<u32>)| Block {
                output,
                partitions: partitions.into_iter().collect(),
                made_by,
            };
            blocks.extend(launches.into_iter().map(block));
        }
        blocks
    }

    /// A block was made on or moved to an engine, which may itself be about to leave.
    pub(super) fn placed(&mut self, row: u32, output: OutputId, partitions: &Partitions, made_by: AttemptId) {
        if let Some(drain) = self.draining.get_mut(&row) {
            drain.todo.push_back(Block { output, partitions: partitions.clone(), made_by });
        }
    }

    /// An engine is gone: blocks that were to be moved there need another place.
    pub(super) fn drain_without(&mut self, row: u32, id: EngineId) {
        self.draining.remove(&row);
        for drain in self.draining.values_mut() {
            for ((output, made_by), (partitions, _)) in drain.moving.extract_if(.., |_, (_, to)| *to == id) {
                drain.todo.push_back(Block { output, partitions, made_by });
            }
        }
    }

    /// Moves what can be moved, and releases engines that have nothing left.
    pub(super) fn drain(&mut self, out: &mut Vec<Action<E>>) {
        let rows: Vec<u32> = self.draining.keys().copied().collect();
        for row in rows {
            let (Some(mut drain), Some(engine)) = (self.draining.remove(&row), self.engines.get(row)) else { continue };
            let (from, idle) = (engine.id, engine.running.is_empty());
            while drain.moving.len() < MOVES
                && let Some(Block { output, partitions, made_by }) = drain.todo.pop_front()
            {
                if !self.is_whole(output, &partitions, made_by, from) {
                    continue;
                }
                let Some(to) = self.engines.next_open() else {
                    drain.todo.push_front(Block { output, partitions, made_by });
                    break;
                };
                drain.moving.insert((output, made_by), (partitions.clone(), to));
                out.push(Action::Move(Move { output, partitions, made_by, from, to }));
            }
            let empty = idle && drain.todo.is_empty() && drain.moving.is_empty();
            if empty && !drain.reported && !self.is_read(&drain.left.values().copied().collect()) {
                let left = std::mem::take(&mut drain.left);
                out.extend(left.into_keys().map(|attempt| Action::Discard { engine: from, attempt }));
                out.push(Action::Drained { engine: from });
                drain.reported = true;
            }
            self.draining.insert(row, drain);
        }
    }

    fn is_whole(&self, output: OutputId, partitions: &Partitions, made_by: AttemptId, engine: EngineId) -> bool {
        let at = Some(BlockLocation { made_by, engine });
        let block = |partition| FetchFailure { output, partition, at };
        partitions.iter().all(|partition| self.is_there(&block(partition)))
    }

    /// Whether a running task reads one of these outputs: it has the old places.
    fn is_read(&self, outputs: &BTreeSet<OutputId>) -> bool {
        let made = |key| self.stages.get(key).and_then(|stage| stage.output);
        !outputs.is_empty()
            && self.attempts.iter().filter(|attempt| !attempt.stopping).any(|attempt| {
                let parents = &self.stages[attempt.stage].parents;
                parents.iter().any(|parent| made(parent.0).is_some_and(|output| outputs.contains(&output)))
            })
    }

    /// The engine `to` has a block now. If the block is still wanted, it counts there; else it is deleted there.
    pub(super) fn block_moved(&mut self, what: Move, out: &mut Vec<Action<E>>) {
        let Move { output, partitions, made_by, from, to } = what;
        self.end_move(output, made_by, from, to);
        let Some(there) = self.engines.row_of(to) else { return };
        if self.is_whole(output, &partitions, made_by, from) {
            if let Some(record) = self.outputs.get_mut(&output) {
                record.relocate(&partitions, to);
            }
            self.placed(there, output, &partitions, made_by);
            let drain = self.engines.row_of(from).and_then(|row| self.draining.get_mut(&row));
            match drain.filter(|drain| !drain.reported) {
                Some(drain) => drop(drain.left.insert(made_by, output)),
                None => out.push(Action::Discard { engine: from, attempt: made_by }),
            }
        } else if !self.is_whole(output, &partitions, made_by, to) {
            out.push(Action::Discard { engine: to, attempt: made_by });
        }
    }

    /// A block stays on its engine and is lost when the engine leaves. What is needed of it is recomputed then.
    pub(super) fn move_failed(&mut self, what: Move, out: &mut Vec<Action<E>>) {
        let Move { output, made_by, from, to, .. } = what;
        self.end_move(output, made_by, from, to);
        if self.engines.row_of(to).is_some() {
            // Deletes the part that arrived.
            out.push(Action::Discard { engine: to, attempt: made_by });
        }
    }

    fn end_move(&mut self, output: OutputId, made_by: AttemptId, from: EngineId, to: EngineId) {
        let drain = self.engines.row_of(from).and_then(|row| self.draining.get_mut(&row));
        let Some(drain) = drain else { return };
        if drain.moving.get(&(output, made_by)).is_some_and(|(_, target)| *target == to) {
            drain.moving.remove(&(output, made_by));
        }
    }

    /// How far an engine is that was asked to leave; `None` if it was not.
    pub fn draining(&self, engine: EngineId) -> Option<Draining> {
        let row = self.engines.row_of(engine)?;
        let drain = self.draining.get(&row)?;
        let running = self.engines.get(row)?.running.len() as u32;
        let (waiting, moving) = (drain.todo.len() as u32, drain.moving.len() as u32);
        let nowhere = waiting > 0 && !self.engines.any_open();
        Some(Draining { running, waiting, moving, nowhere, drained: drain.reported })
    }
}
