//! What runs a user's program: on threads of its own process, or as the driver and the workers of a cluster.
//!
//! [`local`] runs the tasks of a job on threads. [`driver`] has a cluster run them. [`worker`] is what the program does
//! when an engine starts it. Each carries out the scheduler's decisions.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "cluster")]
mod apart;
mod caches;
mod caller;
#[cfg(feature = "cluster")]
pub mod driver;
pub mod event_log;
mod execute;
mod job_spec;
pub mod local;
mod panics;
mod pool;
mod queue;
pub mod screen;
mod shielded;
#[cfg(feature = "cluster")]
pub mod ship;
#[cfg(feature = "cluster")]
pub mod worker;

use screen::Screen;
use std::sync::Arc;
use tryworks_base::Progress;
use tryworks_core::runner::Runner;

/// What runs the jobs of a context: threads of this process, or a cluster.
pub trait Runtime: Runner {
    /// The jobs that have not ended, with their labels and their progress, the newest last.
    fn active(&self) -> Vec<(String, Progress)>;

    /// Tells `screen` when jobs are over.
    fn show_on(&self, screen: Arc<dyn Screen>);

    /// Stops: running jobs fail with [`Error::Stopped`](tryworks_base::Error::Stopped), and so does every later call.
    fn stop(&self);

    /// How many bytes of this process's spill files are in use.
    fn spill_bytes(&self) -> u64 {
        0
    }

    /// How many blocks of shuffles and caches this process keeps.
    fn blocks(&self) -> usize {
        0
    }
}
