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
mod outcome;
mod rng;
pub mod scale;
mod workload;
mod world;

pub use checkers::Violation;
pub use rng::{Rng, mix};

use outcome::outcome;
use tryworks_scheduler::{Action, Batch, Reason};

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

outcome! {
    /// Events that the scheduler handled.
    events: "events",
    /// Tasks launched.
    launched: "tasks launched",
    /// The simulated time at the end of the run.
    seconds: "simulated seconds",
    /// Jobs that gave their results.
    done: "jobs done",
    /// Jobs that were cancelled in time.
    cancelled: "jobs cancelled",
    /// Jobs that failed by a task.
    failed_by_task: "jobs failed by a task",
    /// Jobs that failed by a worker.
    failed_by_worker: "jobs failed by a worker",
    /// Jobs that failed by lost engines.
    failed_by_losses: "jobs failed by lost engines",
    /// Jobs that failed by reads.
    failed_by_fetch: "jobs failed by fetches",
    /// Jobs that failed by a result that cannot be taken back.
    failed_by_change: "jobs failed by a result that cannot be taken back",
    /// Jobs that failed by a limit.
    failed_by_limit: "jobs failed by a limit",
    /// Jobs that failed for want of engines.
    failed_by_no_engine: "jobs failed for want of engines",
    /// Jobs that failed since no engine could start them.
    failed_by_unfit: "jobs failed since no engine could start them",
    /// Engines that the hub gave up.
    engines_lost: "engines lost",
    /// Workers that died with tasks.
    workers_died: "workers died",
    /// Starts of the hub after it was killed.
    hubs_started: "starts of the hub",
    /// Blocks that engines still had after the hub was killed.
    blocks_known: "blocks known to a new hub",
    /// Engines that were asked to leave.
    engines_drained: "engines asked to leave",
    /// Those of them that were allowed to leave.
    engines_let_go: "engines that may go",
    /// Blocks that were moved.
    blocks_moved: "blocks moved",
    /// Blocks that could not be moved.
    moves_failed: "moves that failed",
    /// Second launches of tasks that took too long.
    copies: "second launches",
    /// Second launches that were faster than the first.
    copies_won: "second launches that won",
    /// Blocks that vanished.
    blocks_lost: "blocks lost",
    /// Engines that were short of memory for a while.
    gates_closed: "engines short of memory",
    /// How many times an engine could not start a task.
    starts_failed: "starts that failed",
    /// Reads that failed.
    fetches_failed: "fetches failed",
    /// Failed reads in which several blocks were missing.
    lost_together: "several blocks missing at once",
    /// Errors of user code.
    user_errors: "user errors",
    /// Repeated tasks that answered differently.
    nondeterministic: "repeated tasks that answered differently",
    /// Those of them whose first answer an earlier hub had received.
    changed_since: "other answers than an earlier hub had received",
    /// Tasks that ran alone on their engine.
    alone: "tasks run alone",
    /// Attempts that were asked to stop.
    stopped: "attempts stopped",
    /// Messages lost.
    messages_dropped: "messages dropped",
    /// Messages that arrived twice.
    messages_doubled: "messages doubled",
    /// How many times the planted bug took effect.
    planted: "planted",
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
                let count = match reason {
                    Reason::Task { .. } => &mut self.failed_by_task,
                    Reason::Worker { .. } => &mut self.failed_by_worker,
                    Reason::Losses { .. } => &mut self.failed_by_losses,
                    Reason::Fetch { .. } => &mut self.failed_by_fetch,
                    Reason::Nondeterministic { .. } => &mut self.failed_by_change,
                    Reason::Limit { .. } => &mut self.failed_by_limit,
                    Reason::NoEngine { .. } | Reason::NoPool { .. } | Reason::Invalid { .. } => {
                        &mut self.failed_by_no_engine
                    }
                    Reason::Unfit { .. } => &mut self.failed_by_unfit,
                };
                *count += 1;
            }
            _ => {}
        }
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
    /// All bugs, each with the message of its checker.
    pub const ALL: [(Bug, &str); 8] = [
        (Bug::CommitTwice, "is committed twice"),
        (Bug::LoseTask, "did not end"),
        (Bug::LoseCommit, "was never committed"),
        (Bug::WrongValue, "a sequential run gives"),
        (Bug::LaunchTwice, "and so does"),
        (Bug::KeepBlocks, "all jobs ended, and yet engine"),
        (Bug::WrongReason, "a reason that never happened"),
        (Bug::EndEarly, "was never committed"),
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
