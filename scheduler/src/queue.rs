//! The tasks that wait in a stage: runs of partitions, cut into tasks only when they are launched.

use super::partitions::{Partitions, Run};
use std::collections::VecDeque;

/// A million waiting partitions are one run of eight bytes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Tasks that were launched before: they are launched again unchanged, and first of all.
    again: VecDeque<Partitions>,
    runs: VecDeque<Run>,
    /// The number of partitions in `runs`.
    waiting: u32,
    /// How many partitions a task has; `None` if every run is a task already.
    cut: Option<u32>,
}

impl Queue {
    pub fn new(cut: Option<u32>) -> Self {
        Self { cut: cut.map(|n| n.max(1)), ..Self::default() }
    }

    pub fn push(&mut self, runs: impl IntoIterator<Item = Run>) {
        for run in runs {
            self.waiting += run.len();
            self.runs.push_back(run);
        }
    }

    pub fn push_again(&mut self, task: Partitions) {
        self.again.push_back(task);
    }

    pub fn pop(&mut self) -> Option<Partitions> {
        if let Some(task) = self.again.pop_front() {
            return Some(task);
        }
        let Some(cut) = self.cut else {
            let run = self.runs.pop_front()?;
            self.waiting -= run.len();
            return Some(run.into());
        };
        let front = self.runs.front_mut()?;
        if front.len() > cut {
            let task = Run::new(front.start, front.start + cut);
            front.start = task.end;
            self.waiting -= cut;
            return Some(task.into());
        }
        let first = *front;
        self.runs.pop_front();
        self.waiting -= first.len();
        // The waiting partitions may have gaps: a task then also takes partitions after the gap.
        let (mut task, mut left) = (vec![first], cut - first.len());
        while left > 0
            && let Some(next) = self.runs.front_mut()
            && task.last().is_some_and(|last| last.end <= next.start)
        {
            let part = Run::new(next.start, next.start + next.len().min(left));
            next.start = part.end;
            if next.is_empty() {
                self.runs.pop_front();
            }
            self.waiting -= part.len();
            left -= part.len();
            task.push(part);
        }
        Some(Partitions::from_runs(task))
    }

    /// Removes partitions that need not run any more.
    pub fn remove(&mut self, gone: &Partitions) {
        let left =
            |task: &Partitions| -> Partitions { task.iter().filter(|&partition| !gone.contains(partition)).collect() };
        let again = std::mem::take(&mut self.again);
        self.again = again.iter().map(left).filter(|task| !task.is_empty()).collect();
        self.waiting = 0;
        for run in std::mem::take(&mut self.runs) {
            let touched = gone.runs().iter().any(|g| g.start < run.end && run.start < g.end);
            let left = if touched { left(&run.into()) } else { run.into() };
            self.push(left.runs().iter().copied().filter(|run| !run.is_empty()));
        }
    }

    /// Takes all runs, without the tasks that were launched before.
    pub fn take_runs(&mut self) -> Vec<Run> {
        self.waiting = 0;
        std::mem::take(&mut self.runs).into()
    }

    pub fn is_empty(&self) -> bool {
        self.again.is_empty() && self.runs.is_empty()
    }

    pub fn tasks(&self) -> u32 {
        let fresh = match self.cut {
            Some(cut) => self.waiting.div_ceil(cut),
            None => self.runs.len() as u32,
        };
        self.again.len() as u32 + fresh
    }

    pub fn contains(&self, partition: u32) -> bool {
        self.again.iter().any(|task| task.contains(partition))
            || self.runs.iter().any(|r| r.iter().contains(&partition))
    }

    pub fn heap_bytes(&self) -> usize {
        self.again.capacity() * size_of::<Partitions>()
            + self.again.iter().map(|task| task.heap_bytes()).sum::<usize>()
            + self.runs.capacity() * size_of::<Run>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut queue: Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).map(|task| format!("{task:?}")).collect()
    }

    #[test]
    fn a_run_is_cut_as_it_is_launched() {
        let mut queue = Queue::new(Some(4));
        queue.push([Run::new(0, 10)]);
        assert_eq!(queue.tasks(), 3);
        assert_eq!(drain(queue), ["0..4", "4..8", "8..10"]);
    }

    #[test]
    fn a_task_reaches_over_gaps_but_never_back() {
        let mut queue = Queue::new(Some(4));
        queue.push([Run::new(5, 6), Run::new(8, 9), Run::new(20, 24), Run::new(0, 1)]);
        assert_eq!(drain(queue), ["5..6+8..9+20..22", "22..24", "0..1"]);
    }

    #[test]
    fn runs_can_be_removed_from_the_middle() {
        let mut queue = Queue::new(Some(4));
        queue.push([Run::new(0, 10), Run::new(12, 13)]);
        queue.push_again((20..23).into());
        queue.push_again((30..32).into());
        queue.remove(&[4, 5, 12, 21, 30, 31].into_iter().collect());
        assert_eq!((queue.tasks(), queue.contains(12), queue.contains(9)), (3, false, true));
        assert_eq!(drain(queue), ["20..21+22..23", "0..4", "6..10"]);
    }

    #[test]
    fn tasks_that_come_back_go_first_and_whole() {
        let mut queue = Queue::new(None);
        queue.push([Run::new(0, 3), Run::new(3, 9)]);
        queue.push_again((20..25).into());
        assert_eq!((queue.tasks(), queue.contains(4), queue.contains(9)), (3, true, false));
        assert_eq!(drain(queue), ["20..25", "0..3", "3..9"]);
    }
}
