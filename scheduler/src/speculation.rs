//! Stragglers: a task that takes much longer than the others of its stage is run a second time on another engine.

use super::{Scheduler, Time, action::Action, partitions::Partitions, slab::StageKey, spec::Speculation};
use std::{collections::VecDeque, time::Duration};
use tryworks_base::ids::AttemptId;

/// How long the tasks of a stage take; kept only for stages that ask for it.
#[derive(Debug)]
pub(super) struct Pace {
    rule: Speculation,
    /// The nanoseconds from launch to end of each finished task.
    took: Vec<u64>,
    /// The time above which a task is slow, as last computed.
    too_long: Option<Duration>,
    /// When to look at running tasks next.
    pub next_look: Option<Time>,
    /// Launches whose tasks should get a second launch.
    slow: VecDeque<AttemptId>,
}

impl Pace {
    pub fn new(rule: Speculation) -> Self {
        Self { rule, took: Vec::new(), too_long: None, next_look: None, slow: VecDeque::new() }
    }

    pub fn wants_copies(&self) -> bool {
        !self.slow.is_empty()
    }

    /// Computes the time above which a task is slow, once enough of the `tasks` are done.
    fn judge(&mut self, tasks: u64) -> Option<Duration> {
        let done = self.took.len() as u64;
        if done == 0 || done * 100 < tasks * u64::from(self.rule.quantile_percent) {
            return None;
        }
        let middle = self.took.len() / 2;
        let (_, median, _) = self.took.select_nth_unstable(middle);
        let nanos = u128::from(*median) * u128::from(self.rule.multiplier_percent) / 100;
        self.too_long = Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).max(1)));
        self.too_long
    }

    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.took.capacity() * 8 + self.slow.capacity() * size_of::<AttemptId>()
    }
}

impl<E: Clone> Scheduler<E> {
    /// A task that was launched at this time is done.
    pub(super) fn note_pace(&mut self, key: StageKey, launched: Time, out: &mut Vec<Action<E>>) {
        let Some(pace) = &mut self.stages[key].pace else { return };
        pace.took.push(self.now.since(launched).as_nanos() as u64);
        if pace.next_look.is_none() {
            self.look_for_stragglers(key, out);
        }
    }

    /// A task is launched: the next look is when it could become slow, unless one is planned already.
    pub(super) fn watch(&mut self, key: StageKey, out: &mut Vec<Action<E>>) {
        let Some(pace) = &self.stages[key].pace else { return };
        if let (Some(too_long), None) = (pace.too_long, pace.next_look) {
            self.look_again(key, self.now + too_long, out);
        }
    }

    fn look_again(&mut self, key: StageKey, time: Time, out: &mut Vec<Action<E>>) {
        let Some(pace) = &mut self.stages[key].pace else { return };
        pace.next_look = Some(time);
        self.looks.insert((time, key));
        out.push(Action::WakeAt { time });
    }

    /// Looks at the stages whose time has come.
    pub(super) fn look_round(&mut self, out: &mut Vec<Action<E>>) {
        while let Some(&(time, key)) = self.looks.first()
            && time <= self.now
        {
            self.looks.remove(&(time, key));
            if let Some(pace) = &mut self.stages[key].pace {
                pace.next_look = None;
            }
            self.look_for_stragglers(key, out);
        }
    }

    fn look_for_stragglers(&mut self, key: StageKey, out: &mut Vec<Action<E>>) {
        let stage = &mut self.stages[key];
        let open = stage.running + stage.waiting_tasks();
        let Some(pace) = &mut stage.pace else { return };
        let Some(too_long) = pace.judge(pace.took.len() as u64 + u64::from(open)) else { return };
        let mut next: Option<Time> = None;
        let running = self.attempts.iter_mut().filter(|attempt| attempt.stage == key && !attempt.stopping);
        for attempt in running.filter(|attempt| !attempt.copied && !attempt.alone) {
            let due = attempt.launched + too_long;
            if due < self.now {
                attempt.copied = true;
                pace.slow.push_back(attempt.id);
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        self.settle(key);
        if let Some(next) = next {
            // Tasks that become slow one by one do not each cause a look.
            let pause = self.now + too_long / 4;
            self.look_again(key, next.max(pause) + Duration::from_nanos(1), out);
        }
    }

    /// A straggler to be run a second time, and another engine that would begin it at once.
    pub(super) fn next_copy(&mut self, key: StageKey) -> Option<(u32, Partitions, AttemptId)> {
        let mut not = self.unfit_for(key);
        let pace = self.stages[key].pace.as_mut()?;
        while let Some(&slow) = pace.slow.front() {
            let still = self.attempts.get(slow).filter(|a| a.stage == key && !a.stopping && a.twin.is_none());
            if let Some(attempt) = still {
                let here = self.engines.get(attempt.engine)?.id;
                not.push(here);
                let row = self.engines.pick_slot(&not)?;
                pace.slow.pop_front();
                return Some((row, attempt.partitions.clone(), slow));
            }
            pace.slow.pop_front();
        }
        None
    }

    /// One of two launches of a task is done: the other one is stopped.
    pub(super) fn stop_twin(&mut self, twin: Option<AttemptId>, out: &mut Vec<Action<E>>) {
        let Some(loser) = twin.and_then(|twin| self.attempts.get_mut(twin)) else { return };
        loser.stopping = true;
        let (id, row, stage, partitions) = (loser.id, loser.engine, loser.stage, loser.partitions.len());
        self.count_out(stage, partitions, false);
        if let Some(engine) = self.engines.get(row) {
            out.push(Action::Kill { engine: engine.id, attempt: id });
        }
    }
}
