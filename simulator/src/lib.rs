//! The simulator: the real scheduler in a simulated world, and the real hub and engines in a [`cluster`]. A seed
//! determines the whole run.
//!
//! The clock is a number. The network loses, doubles, delays and reorders messages. Engines are killed and cut off,
//! workers die, and blocks vanish. User code fails and gives different answers, and drivers cancel jobs and release
//! outputs. Fake tasks compute numbers from what they read, so that results can be compared with a sequential
//! evaluation of the plan. The checkers look on from outside and do not use the scheduler's records.
//!
//! ```
//! use tryworks_simulator::{Options, run};
//! let outcome = run(42, &Options::default()).unwrap();
//! assert_eq!(outcome, run(42, &Options::default()).unwrap(), "a seed is the whole run");
//! ```

mod book;
mod checkers;
pub mod cluster;
mod faults;
mod host;
mod rng;
pub mod scale;
mod workload;
mod world;

pub use checkers::Violation;
pub use rng::{Rng, mix};

use tryworks_scheduler::{Action, Batch, Reason, Time};

/// How to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Print every event and action.
    pub trace: bool,
    /// Plants a bug, to see whether a checker notices.
    pub bug: Option<Bug>,
}

/// Runs one seed to the end. An error says which promise was broken.
pub fn run(seed: u64, options: &Options) -> Result<Outcome, Violation> {
    world::World::new(seed, options.bug, options.trace).run()
}

/// What happened in a run: mainly, how many faults there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Events that the scheduler handled.
    pub events: u64,
    /// Tasks launched.
    pub launched: u64,
    /// The simulated time at the end of the run.
    pub virtual_time: Time,
    /// Jobs that gave their results.
    pub done: u64,
    /// Jobs that were cancelled in time.
    pub cancelled: u64,
    /// Jobs that failed, by reason: task, worker, losses, fetch, nondeterministic, limit, no engine, none that is fit.
    pub failed: [u64; 8],
    /// Engines that the hub gave up.
    pub engines_lost: u64,
    /// Workers that died with tasks.
    pub workers_died: u64,
    /// Starts of the hub after it was killed.
    pub hubs_started: u64,
    /// Blocks that engines still had after the hub was killed.
    pub blocks_known: u64,
    /// Engines that were asked to leave.
    pub engines_drained: u64,
    /// Those of them that were allowed to leave.
    pub engines_let_go: u64,
    /// Blocks that were moved.
    pub blocks_moved: u64,
    /// Blocks that could not be moved.
    pub moves_failed: u64,
    /// Second launches of tasks that took too long.
    pub copies: u64,
    /// Second launches that were faster than the first.
    pub copies_won: u64,
    /// Blocks that vanished.
    pub blocks_lost: u64,
    /// Engines that were short of memory for a while.
    pub gates_closed: u64,
    /// How many times an engine could not start a task.
    pub starts_failed: u64,
    /// Reads that failed.
    pub fetches_failed: u64,
    /// Failed reads in which several blocks were missing.
    pub lost_together: u64,
    /// Errors of user code.
    pub user_errors: u64,
    /// Repeated tasks that answered differently.
    pub nondeterministic: u64,
    /// Those of them whose first answer an earlier hub had been told.
    pub changed_since: u64,
    /// Tasks that ran alone on their engine.
    pub alone: u64,
    /// Attempts that were asked to stop.
    pub stopped: u64,
    /// Messages lost.
    pub messages_dropped: u64,
    /// Messages that arrived twice.
    pub messages_doubled: u64,
    /// How many times the planted bug took effect.
    pub planted: u64,
}

impl Outcome {
    fn count(&mut self, action: &Action<String>) {
        match action {
            Action::Launch { tasks, .. } => {
                self.alone += tasks.iter().filter(|task| task.alone).count() as u64;
                self.copies += tasks.iter().filter(|task| task.copy_of.is_some()).count() as u64;
            }
            Action::Drained { .. } => self.engines_let_go += 1,
            Action::JobDone { .. } => self.done += 1,
            Action::JobCancelled { .. } => self.cancelled += 1,
            Action::Kill { .. } => self.stopped += 1,
            Action::Nondeterministic { .. } => self.nondeterministic += 1,
            Action::JobFailed { reason, .. } => {
                let kind = match reason {
                    Reason::Task { .. } => 0,
                    Reason::Worker { .. } => 1,
                    Reason::Losses { .. } => 2,
                    Reason::Fetch { .. } => 3,
                    Reason::Nondeterministic { .. } => 4,
                    Reason::Limit { .. } => 5,
                    Reason::NoEngine { .. } | Reason::NoPool { .. } | Reason::Invalid { .. } => 6,
                    Reason::Unfit { .. } => 7,
                };
                self.failed[kind] += 1;
            }
            _ => {}
        }
    }

    /// The sum of two outcomes; the later of their times.
    pub fn plus(mut self, other: &Outcome) -> Outcome {
        self.virtual_time = self.virtual_time.max(other.virtual_time);
        self.failed.iter_mut().zip(other.failed).for_each(|(sum, more)| *sum += more);
        for (sum, more) in [
            (&mut self.events, other.events),
            (&mut self.launched, other.launched),
            (&mut self.done, other.done),
            (&mut self.cancelled, other.cancelled),
            (&mut self.engines_lost, other.engines_lost),
            (&mut self.workers_died, other.workers_died),
            (&mut self.hubs_started, other.hubs_started),
            (&mut self.blocks_known, other.blocks_known),
            (&mut self.engines_drained, other.engines_drained),
            (&mut self.engines_let_go, other.engines_let_go),
            (&mut self.blocks_moved, other.blocks_moved),
            (&mut self.moves_failed, other.moves_failed),
            (&mut self.copies, other.copies),
            (&mut self.copies_won, other.copies_won),
            (&mut self.blocks_lost, other.blocks_lost),
            (&mut self.gates_closed, other.gates_closed),
            (&mut self.starts_failed, other.starts_failed),
            (&mut self.fetches_failed, other.fetches_failed),
            (&mut self.lost_together, other.lost_together),
            (&mut self.user_errors, other.user_errors),
            (&mut self.nondeterministic, other.nondeterministic),
            (&mut self.changed_since, other.changed_since),
            (&mut self.alone, other.alone),
            (&mut self.stopped, other.stopped),
            (&mut self.messages_dropped, other.messages_dropped),
            (&mut self.messages_doubled, other.messages_doubled),
            (&mut self.planted, other.planted),
        ] {
            *sum += more;
        }
        self
    }
}

/// A bug to plant between the scheduler and the world, one for each checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Results are committed a second time.
    CommitTwice,
    /// A launch never reaches its engine.
    LoseTask,
    /// Results are not committed at all.
    LoseCommit,
    /// A task computes the wrong value.
    WrongValue,
    /// The same task is launched twice at once.
    LaunchTwice,
    /// Blocks that are not needed are never deleted.
    KeepBlocks,
    /// Jobs fail for a reason that did not happen.
    WrongReason,
    /// A job is said to be done at its first result.
    EndEarly,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 8] = [
        Bug::CommitTwice,
        Bug::LoseTask,
        Bug::LoseCommit,
        Bug::WrongValue,
        Bug::LaunchTwice,
        Bug::KeepBlocks,
        Bug::WrongReason,
        Bug::EndEarly,
    ];

    fn plant(self, actions: &mut Vec<Action<String>>, planted: &mut u64) {
        let before = actions.len();
        match self {
            Bug::CommitTwice => {
                let commits = |action: &&Action<String>| matches!(action, Action::Commit { .. });
                let again = actions.iter().find(commits).cloned();
                actions.splice(0..0, again);
            }
            Bug::LoseTask => {
                let at = actions.iter().position(|action| {
                    matches!(action, Action::Launch { tasks, .. } if tasks[0].attempt.sequence().is_multiple_of(5))
                });
                at.map(|at| actions.remove(at));
            }
            Bug::LoseCommit => actions.retain(|action| !matches!(action, Action::Commit { .. })),
            Bug::LaunchTwice => {
                let launches = |action: &Action<String>| matches!(action, Action::Launch { .. });
                if let Some(at) = actions.iter().position(launches)
                    && let Action::Launch { engine, tasks } = &actions[at]
                {
                    let mut task = tasks[0].clone();
                    task.attempt = tryworks_base::ids::AttemptId::new(task.attempt.sequence() + 1_000, 0);
                    actions.push(Action::Launch { engine: *engine, tasks: Batch::One(task) });
                }
            }
            Bug::KeepBlocks => {
                actions.retain(|action| !matches!(action, Action::Discard { .. } | Action::DeleteOutput { .. }));
            }
            Bug::WrongReason => {
                let ends = |action: &Action<String>| matches!(action, Action::JobDone { .. });
                if let Some(at) = actions.iter().position(ends)
                    && let Action::JobDone { job } = actions[at]
                {
                    *planted += 1;
                    let waited = std::time::Duration::from_secs(9);
                    actions[at] = Action::JobFailed { job, reason: Reason::NoEngine { waited } };
                }
            }
            Bug::EndEarly => {
                if let Some(Action::Commit { job, .. }) = actions.first().cloned() {
                    actions.retain(|action| !matches!(action, Action::JobDone { .. }));
                    actions.push(Action::JobDone { job });
                    *planted += 1;
                }
            }
            Bug::WrongValue => {}
        }
        *planted += u64::from(actions.len() != before);
    }
}
