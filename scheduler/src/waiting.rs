//! Where the tasks of a stage wait: for an engine that has what they read, or for any engine.

use super::{
    partitions::{Bits, Partitions, Run},
    queue::Queue,
};
use std::collections::{BTreeMap, BTreeSet};
use tryworks_base::ids::EngineId;

/// The tasks that wait in a stage. Without hints they are one queue.
#[derive(Debug)]
pub(super) struct Waiting {
    anywhere: Queue,
    local: Option<Box<Local>>,
}

#[derive(Debug)]
struct Local {
    /// Ascending and disjoint; the engines are in the order in which they were named.
    hints: Vec<(Run, Vec<EngineId>)>,
    /// Tasks that wait for one engine, by its row.
    queues: BTreeMap<u32, Queue>,
    /// The rows of these queues; none of them is empty.
    rows: Bits,
    cut: Option<u32>,
}

impl Waiting {
    pub fn new(cut: Option<u32>, partitions: u32, local: &[(Run, EngineId)]) -> Self {
        let hints = disjoint(partitions, local);
        let local = Local { hints, queues: BTreeMap::new(), rows: Bits::default(), cut };
        Self { anywhere: Queue::new(cut), local: Some(Box::new(local)).filter(|local| !local.hints.is_empty()) }
    }

    pub fn has_hints(&self) -> bool {
        self.local.is_some()
    }

    /// Cuts a run where the engine that it should wait for changes. `row` finds an engine that takes tasks.
    pub fn split(&self, run: Run, row: impl Fn(EngineId) -> Option<u32>) -> Vec<(Option<u32>, Run)> {
        let Some(local) = &self.local else { return vec![(None, run)] };
        let mut parts: Vec<(Option<u32>, Run)> = Vec::new();
        let mut add = |to: Option<u32>, start: u32, end: u32| match parts.last_mut() {
            _ if start >= end => {}
            Some((last, part)) if *last == to => part.end = end,
            _ => parts.push((to, Run::new(start, end))),
        };
        let mut at = run.start;
        let first = local.hints.partition_point(|(hint, _)| hint.end <= run.start);
        for (hint, engines) in local.hints[first..].iter().take_while(|(hint, _)| hint.start < run.end) {
            add(None, at, hint.start);
            let start = hint.start.max(at);
            at = hint.end.min(run.end);
            add(engines.iter().find_map(|&engine| row(engine)), start, at);
        }
        add(None, at, run.end);
        parts
    }

    pub fn push(&mut self, to: Option<u32>, runs: impl IntoIterator<Item = Run>) {
        match (to, &mut self.local) {
            (Some(row), Some(local)) => {
                local.queues.entry(row).or_insert_with(|| Queue::new(local.cut)).push(runs);
                local.rows.insert(row);
            }
            _ => self.anywhere.push(runs),
        }
    }

    pub fn push_again(&mut self, task: Partitions) {
        self.anywhere.push_again(task);
    }

    /// Tasks that might wait elsewhere now: for an engine that is gone (its row), or for one that has come.
    pub fn take_runs(&mut self, row: Option<u32>) -> Vec<Run> {
        let Some(row) = row else { return self.anywhere.take_runs() };
        let Some(local) = &mut self.local else { return Vec::new() };
        local.rows.remove(row);
        local.queues.remove(&row).map(|mut queue| queue.take_runs()).unwrap_or_default()
    }

    /// The next in turn of the rows in `among` for which tasks wait.
    pub fn local_one_of(&self, among: &Bits, from: u32) -> Option<u32> {
        self.local.as_ref()?.rows.next_in_both(among, from)
    }

    /// The first row at or after this one for which tasks wait.
    pub fn any_local(&self, from: u32) -> Option<u32> {
        self.local.as_ref()?.rows.next_in_turn(from)
    }

    pub fn pop_local(&mut self, row: u32) -> Option<Partitions> {
        let local = self.local.as_mut()?;
        let queue = local.queues.get_mut(&row)?;
        let task = queue.pop();
        if queue.is_empty() {
            local.queues.remove(&row);
            local.rows.remove(row);
        }
        task
    }

    pub fn pop_anywhere(&mut self) -> Option<Partitions> {
        self.anywhere.pop()
    }

    pub fn nothing_for_anywhere(&self) -> bool {
        self.anywhere.is_empty()
    }

    pub fn remove(&mut self, gone: &Partitions) {
        self.anywhere.remove(gone);
        if let Some(local) = &mut self.local {
            local.queues.values_mut().for_each(|queue| queue.remove(gone));
            for (row, _) in local.queues.extract_if(.., |_, queue| queue.is_empty()) {
                local.rows.remove(row);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.anywhere.is_empty() && self.local.as_ref().is_none_or(|local| local.queues.is_empty())
    }

    pub fn tasks(&self) -> u32 {
        self.queues().map(Queue::tasks).sum()
    }

    pub fn contains(&self, partition: u32) -> bool {
        self.queues().any(|queue| queue.contains(partition))
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        std::iter::once(&self.anywhere).chain(self.local.iter().flat_map(|local| local.queues.values()))
    }

    pub fn heap_bytes(&self) -> usize {
        let hint = |(_, engines): &(Run, Vec<EngineId>)| size_of::<(Run, Vec<EngineId>)>() + engines.capacity() * 4;
        let local = self.local.as_ref().map_or(0, |local| {
            size_of::<Local>() + local.hints.iter().map(hint).sum::<usize>() + local.rows.heap_bytes()
        });
        local + self.queues().map(Queue::heap_bytes).sum::<usize>()
    }
}

/// The hints, which may overlap, as ascending runs with all engines that were named for them.
fn disjoint(partitions: u32, local: &[(Run, EngineId)]) -> Vec<(Run, Vec<EngineId>)> {
    let mut edges: Vec<(u32, bool, usize)> = Vec::with_capacity(local.len() * 2);
    for (at, (run, _)) in local.iter().enumerate() {
        let run = Run::new(run.start.min(partitions), run.end.min(partitions));
        if !run.is_empty() {
            edges.extend([(run.start, true, at), (run.end, false, at)]);
        }
    }
    edges.sort_unstable();
    let mut hints: Vec<(Run, Vec<EngineId>)> = Vec::new();
    let mut open: BTreeSet<usize> = BTreeSet::new();
    let mut start = 0;
    for (at, begins, hint) in edges {
        if at > start && !open.is_empty() {
            hints.push((Run::new(start, at), open.iter().map(|&hint| local[hint].1).collect()));
        }
        start = at;
        if begins {
            open.insert(hint)
        } else {
            open.remove(&hint)
        };
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_where_the_nearest_engine_changes() {
        let local = [(Run::new(2, 6), EngineId(1)), (Run::new(4, 8), EngineId(2)), (Run::new(9, 99), EngineId(3))];
        let waiting = Waiting::new(Some(1), 12, &local);
        let row = |engine: EngineId| Some(engine.0).filter(|&row| row != 1);
        let all = waiting.split(Run::new(0, 12), row);
        assert_eq!(format!("{all:?}"), "[(None, 0..4), (Some(2), 4..8), (None, 8..9), (Some(3), 9..12)]");
        let all = waiting.split(Run::new(3, 5), |engine| Some(engine.0));
        assert_eq!(format!("{all:?}"), "[(Some(1), 3..5)]", "the one that was named first");
    }
}
