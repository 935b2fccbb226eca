//! How far a job is, in the form that all processes exchange.

use serde::{Deserialize, Serialize};

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Stages that this job runs; stages whose blocks exist already do not count.
    pub stages: u32,
    /// Stages that are finished.
    pub stages_done: u32,
    /// Partitions to be made, over all stages.
    pub partitions: u64,
    /// Partitions that have been made.
    pub partitions_done: u64,
    /// Tasks that run now.
    pub running: u32,
    /// Attempts that failed, whether or not they were retried yet.
    pub failed: u32,
}
