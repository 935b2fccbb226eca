//! The checkers watch from outside: they compare what the scheduler orders with what really happened, never with its
//! own records.

mod ends;

use super::workload::{Workload, output, result_name, who};
use super::{book::Book, host::Inputs};
use std::collections::{BTreeMap, BTreeSet};
use tryworks_base::ids::{AttemptId, EngineId, JobId};
use tryworks_scheduler::{Action, Event, Failure, FetchFailure, Gate, JobSpec, Partitions, Task};

/// A promise that the scheduler broke, in words.
pub type Violation = String;

/// A launch, as the scheduler ordered it.
#[derive(Debug)]
struct Launched {
    engine: EngineId,
    who: u64,
    task: Task,
    asked_to_stop: bool,
}

/// What a launch really computed, and from which inputs.
#[derive(Debug)]
struct Made {
    who: u64,
    values: BTreeMap<u32, u64>,
    inputs: Inputs,
}

#[derive(Debug)]
struct Watched {
    spec: JobSpec,
    committed: BTreeMap<u32, AttemptId>,
    bytes: u64,
    cancel_asked: bool,
    ended: bool,
}

/// What really happened to the tasks of a stage that begin with this partition.
#[derive(Debug, Default)]
struct Harm {
    errors: Vec<String>,
    deaths: u32,
    losses: u32,
}

#[derive(Debug, Default)]
pub(super) struct Checkers {
    jobs: BTreeMap<JobId, Watched>,
    out: BTreeMap<AttemptId, Launched>,
    numbers: BTreeSet<u64>,
    capacity: BTreeMap<EngineId, usize>,
    made: BTreeMap<AttemptId, Made>,
    reported: BTreeSet<AttemptId>,
    harm: BTreeMap<(u64, u32), Harm>,
    fetches: Vec<FetchFailure>,
    gates: BTreeMap<EngineId, Gate>,
    /// Engines that could not start something.
    unfit: BTreeSet<EngineId>,
    copies_won: u64,
    changed_since: u64,
    book: Book,
}

impl Checkers {
    /// Whether all jobs that were submitted have ended.
    pub fn all_ended(&self, jobs: usize) -> bool {
        self.jobs.len() == jobs && self.jobs.values().all(|job| job.ended)
    }

    /// The hub was killed and starts again. Its launches do not count any more.
    pub fn hub_starts(&mut self) {
        self.out.clear();
        self.capacity.clear();
        self.gates.clear();
        self.book.hub_starts();
    }

    /// The partitions that a driver still wants when it submits a job again; `None` if the job has ended.
    pub fn not_committed(&self, job: JobId) -> Option<Partitions> {
        let job = self.jobs.get(&job).filter(|job| !job.ended)?;
        Some(job.spec.wanted.iter().filter(|partition| !job.committed.contains_key(partition)).collect())
    }

    /// How many second launches were faster than the first.
    pub fn copies_won(&self) -> u64 {
        self.copies_won
    }

    /// How many recomputed answers differed from those that an earlier hub had received.
    pub fn changed_since(&self) -> u64 {
        self.changed_since
    }

    pub fn was_submitted(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    pub fn not_ended(&self) -> Vec<JobId> {
        self.jobs.iter().filter(|(_, job)| !job.ended).map(|(&id, _)| id).collect()
    }

    /// A task finished on its engine, whether or not the hub will learn of it.
    pub fn computed(&mut self, attempt: AttemptId, who: u64, values: BTreeMap<u32, u64>, inputs: Inputs) {
        self.made.insert(attempt, Made { who, values, inputs });
    }

    /// The scheduler is about to handle this event.
    pub fn event(&mut self, event: &Event<String>, slots_beyond: u32) {
        self.book.event(event);
        match event {
            Event::EngineGate { engine, gate } => {
                self.gates.insert(*engine, *gate);
            }
            Event::EngineUnfit { engine, .. } => drop(self.unfit.insert(*engine)),
            Event::EngineJoined { engine, slots } => {
                self.capacity.insert(*engine, (*slots + slots_beyond) as usize);
            }
            Event::EngineLost { engine, .. } => {
                self.capacity.remove(engine);
                self.gates.remove(engine);
                for (_, gone) in self.out.extract_if(.., |_, launched| launched.engine == *engine) {
                    self.harm.entry((gone.who, gone.task.partitions.first())).or_default().losses += 1;
                }
            }
            Event::JobSubmitted { job, spec } => {
                let watched = Watched {
                    spec: spec.clone(),
                    committed: BTreeMap::new(),
                    bytes: 0,
                    cancel_asked: false,
                    ended: false,
                };
                // A job that is submitted again keeps what was committed before.
                self.jobs.entry(*job).or_insert(watched);
            }
            Event::JobCancelled { job } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.cancel_asked = true;
                }
            }
            Event::TaskDone { attempt, report } => {
                let launched = self.out.remove(attempt).filter(|launched| !launched.asked_to_stop);
                if let Some(launched) = &launched {
                    self.reported.insert(*attempt);
                    self.copies_won += u64::from(launched.task.copy_of.is_some());
                    self.book.made(launched.who, launched.engine, &launched.task);
                }
                if let Some(job) = launched.filter(|l| l.who >> 32 != 0).and_then(|l| self.jobs.get_mut(&l.task.job)) {
                    job.bytes += report.partitions.iter().map(|made| made.bytes).sum::<u64>();
                }
            }
            Event::TaskFailed { attempt, failure } => {
                let Some(gone) = self.out.remove(attempt) else { return };
                let harm = self.harm.entry((gone.who, gone.task.partitions.first())).or_default();
                match failure {
                    Failure::User(error) | Failure::Panic(error) | Failure::Final(error) => {
                        harm.errors.push(error.clone())
                    }
                    Failure::Fetch(missed) => {
                        self.fetches.extend(missed);
                        // If all missing blocks had been moved by then, the task was stopped without being to blame.
                        harm.losses += 1;
                    }
                    Failure::Killed => harm.losses += 1,
                }
            }
            Event::WorkerDied { suspects, .. } => {
                for suspect in suspects {
                    if let Some(gone) = self.out.remove(suspect) {
                        self.harm.entry((gone.who, gone.task.partitions.first())).or_default().deaths += 1;
                    }
                }
            }
            _ => {}
        }
    }

    /// The scheduler asked for this action.
    pub fn action(&mut self, workload: &Workload, action: &Action<String>) -> Result<(), Violation> {
        match action {
            Action::Launch { engine, tasks } => tasks.iter().try_for_each(|task| self.launch(workload, *engine, task)),
            Action::Kill { engine, attempt } => match self.out.get_mut(attempt) {
                Some(launched) if launched.engine == *engine && !launched.asked_to_stop => {
                    launched.asked_to_stop = true;
                    Ok(())
                }
                _ => Err(format!("{attempt} is to be stopped on {engine}, where it does not run")),
            },
            Action::Commit { job, attempt, partitions, .. } => {
                partitions.iter().try_for_each(|partition| self.commit(workload, *job, *attempt, partition))
            }
            Action::JobDone { job } => {
                let watched = self.end(*job)?;
                let missing = watched.spec.wanted.iter().find(|partition| !watched.committed.contains_key(partition));
                if let Some(partition) = missing {
                    return Err(format!("{job} is done, but its partition {partition} was never committed"));
                }
                self.one_version(*job)
            }
            Action::JobFailed { job, reason } => {
                self.end(*job)?;
                match self.happened(workload, *job, reason) {
                    true => Ok(()),
                    false => Err(format!("{job} failed for a reason that never happened: {reason:?}")),
                }
            }
            Action::Nondeterministic { job, stage, partition, .. } => {
                let plan = &workload.jobs[job.0 as usize - 1];
                let made = plan.stages.get(*stage as usize).map(|&stage| (output(stage), *partition));
                self.changed_since += u64::from(made.is_some_and(|name| self.book.is_recomputed(name)));
                self.book.answer_changed();
                Ok(())
            }
            Action::Drained { engine } => match self.out.values().find(|launched| launched.engine == *engine) {
                Some(running) => Err(format!("{engine} may go, and yet {} runs there", running.task.attempt)),
                None => Ok(()),
            },
            Action::JobCancelled { job, .. } => match self.end(*job)?.cancel_asked {
                true => Ok(()),
                false => Err(format!("{job} was cancelled, and no driver asked for that")),
            },
            _ => Ok(()),
        }
    }

    fn launch(&mut self, workload: &Workload, engine: EngineId, task: &Task) -> Result<(), Violation> {
        let attempt = task.attempt;
        if !self.numbers.insert(attempt.sequence()) {
            return Err(format!("the number of {attempt} was used before"));
        }
        let Some(&capacity) = self.capacity.get(&engine) else {
            return Err(format!("{attempt} is launched on {engine}, which is not there"));
        };
        let who = who(workload, task);
        self.book.launch(who, task)?;
        if let Some(job) = self.jobs.get(&task.job).filter(|_| who >> 32 != 0)
            && let Some(partition) = task.partitions.iter().find(|partition| job.committed.contains_key(partition))
        {
            return Err(format!("{attempt} computes partition {partition} of {}, which is committed", task.job));
        }
        let others = self.out.iter().filter(|(_, launched)| launched.who == who && !launched.asked_to_stop);
        for (other, launched) in others {
            // A second launch of the same task on another engine, on purpose.
            if task.copy_of == Some(*other) && launched.engine != engine && launched.task.copy_of.is_none() {
                continue;
            }
            if let Some(partition) = task.partitions.iter().find(|&p| launched.task.partitions.contains(p)) {
                return Err(format!("{attempt} computes partition {partition}, and so does {other}"));
            }
        }
        let there: Vec<&Launched> = self.out.values().filter(|launched| launched.engine == engine).collect();
        // A task that failed on another engine may have to wait there.
        if there.len() >= capacity && task.tries == 0 {
            return Err(format!("{attempt} is one more than {engine} can take"));
        }
        if (task.alone && !there.is_empty()) || there.iter().any(|launched| launched.task.alone) {
            return Err(format!("{attempt} and another that must be alone are both on {engine}"));
        }
        self.out.insert(attempt, Launched { engine, who, task: task.clone(), asked_to_stop: false });
        Ok(())
    }

    fn commit(&mut self, workload: &Workload, id: JobId, attempt: AttemptId, partition: u32) -> Result<(), Violation> {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.ended) else {
            return Err(format!("partition {partition} of {id} is committed when there is no such job"));
        };
        if !job.spec.wanted.contains(partition) {
            return Err(format!("partition {partition} of {id} is committed, and its job did not want it"));
        }
        if let Some(before) = job.committed.insert(partition, attempt) {
            return Err(format!("partition {partition} of {id} is committed twice, by {before} and {attempt}"));
        }
        let made =
            self.made.get(&attempt).filter(|made| made.who == result_name(id) && self.reported.contains(&attempt));
        let Some(value) = made.and_then(|made| made.values.get(&partition)) else {
            return Err(format!("partition {partition} of {id} is committed from {attempt}, which never reported it"));
        };
        let plan = &workload.jobs[id.0 as usize - 1];
        let right = workload.answer(plan, partition);
        match plan.fickle || *value == right {
            true => Ok(()),
            false => Err(format!("partition {partition} of {id} came to {value:x}; a sequential run gives {right:x}")),
        }
    }

    fn end(&mut self, id: JobId) -> Result<&Watched, Violation> {
        match self.jobs.get_mut(&id) {
            Some(job) if !job.ended => {
                job.ended = true;
                Ok(job)
            }
            Some(_) => Err(format!("{id} ended twice")),
            None => Err(format!("{id} ended before it was submitted")),
        }
    }
}
