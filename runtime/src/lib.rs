//! What runs a user's program: on threads of its own process, or as the driver and the workers of a cluster.
//!
//! [`local`] runs the tasks of a job on threads; [`driver`] has a cluster run them; [`worker`] is what an engine starts the
//! program as. Each carries out what the scheduler decides.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "cluster")]
mod apart;
mod caller;
#[cfg(feature = "cluster")]
pub mod driver;
pub mod event_log;
mod execute;
mod job_spec;
pub mod local;
mod panics;
mod pool;
pub mod screen;
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
    /// The jobs that have not ended: what each is called and how far it is, the latest last.
    fn active(&self) -> Vec<(String, Progress)>;

    /// Tells `screen` of jobs that are over.
    fn show_on(&self, screen: Arc<dyn Screen>);

    /// Stops: jobs that run fail with [`Error::Stopped`](tryworks_base::Error::Stopped), and so does every later call.
    fn stop(&self);

    /// The bytes of the spill files of this process that are in use now.
    fn spill_bytes(&self) -> u64 {
        0
    }

    /// How many blocks of shuffles and caches this process keeps now.
    fn blocks(&self) -> usize {
        0
    }
}
