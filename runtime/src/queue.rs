//! The tasks that a process was given: those that wait for a thread, and those that run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tryworks_base::ids::AttemptId;
use tryworks_base::memory::Memory;

/// Tasks in the order in which they came, and the attempts that run. A task is given as a `T`.
pub(crate) struct TaskQueue<T> {
    waiting: VecDeque<(AttemptId, T)>,
    /// The running attempts, each with the flag that stops it.
    running: BTreeMap<AttemptId, Arc<AtomicBool>>,
}

impl<T> Default for TaskQueue<T> {
    fn default() -> Self {
        TaskQueue { waiting: VecDeque::new(), running: BTreeMap::new() }
    }
}

impl<T> TaskQueue<T> {
    pub(crate) fn add(&mut self, attempt: AttemptId, task: T) {
        self.waiting.push_back((attempt, task));
    }

    /// The tasks that wait for a thread.
    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = &T> {
        self.waiting.iter().map(|(_, task)| task)
    }

    /// How many attempts run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// The next task, which runs from now on, and the flag that stops it. While the process holds more than its budget,
    /// running tasks end before others begin. One task always runs.
    pub(crate) fn next(&mut self, memory: &Memory) -> Option<(T, Arc<AtomicBool>)> {
        if !self.running.is_empty() && memory.is_over() {
            return None;
        }
        let (attempt, task) = self.waiting.pop_front()?;
        let cancelled = Arc::new(AtomicBool::new(false));
        self.running.insert(attempt, cancelled.clone());
        Some((task, cancelled))
    }

    /// Removes an attempt that has ended. Returns whether no task runs while others wait: threads may be waiting for
    /// memory to be freed, and have to look again.
    #[must_use = "threads that wait have to look again"]
    pub(crate) fn ended(&mut self, attempt: AttemptId) -> bool {
        self.running.remove(&attempt);
        self.running.is_empty() && !self.waiting.is_empty()
    }

    /// Stops an attempt at its next batch. Returns true if it had not begun: then it never does, and is to be reported.
    pub(crate) fn stop(&mut self, attempt: AttemptId) -> bool {
        if let Some(cancelled) = self.running.get(&attempt) {
            cancelled.store(true, Relaxed);
            return false;
        }
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == attempt);
        at.and_then(|at| self.waiting.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_runs_is_asked_to_stop_and_one_that_waits_is_taken_out() {
        let (memory, mut queue) = (Memory::new(1 << 20), TaskQueue::default());
        (1..=3).for_each(|number| queue.add(AttemptId(number), number));
        let (first, cancelled) = queue.next(&memory).unwrap();
        assert!(!queue.stop(AttemptId(first)) && cancelled.load(Relaxed));
        assert!(queue.stop(AttemptId(2)) && !queue.stop(AttemptId(2)));
        assert_eq!((queue.waiting().len(), queue.running()), (1, 1));
        assert!(queue.ended(AttemptId(1)), "one waits and none runs");
        assert_eq!(queue.next(&memory).unwrap().0, 3);
        assert!(!queue.ended(AttemptId(3)) && queue.next(&memory).is_none());
    }
}
