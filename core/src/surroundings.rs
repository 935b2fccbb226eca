//! The surroundings of a worker: a process that runs tasks for a driver in another process.

use std::path::PathBuf;
use std::sync::OnceLock;
use tryworks_base::{Result, Shipment};

/// What a worker knows about the place where it runs.
pub trait Surroundings: Send + Sync {
    /// Fetches a file of the driver's machine. `None` if the driver is on this machine, where the file itself can be
    /// read.
    ///
    /// # Errors
    /// If the file cannot be fetched.
    fn fetch(&self, shipment: &Shipment) -> Result<Option<PathBuf>>;

    /// Where the worker runs, for errors: the engine and its machine.
    fn place(&self) -> String;

    /// Whether the driver runs on this machine.
    fn is_beside_driver(&self) -> bool;
}

static SURROUNDINGS: OnceLock<Box<dyn Surroundings>> = OnceLock::new();

/// Sets the surroundings of this process. Only the first call counts.
pub fn surround(surroundings: Box<dyn Surroundings>) {
    let _ = SURROUNDINGS.set(surroundings);
}

/// The surroundings of this process, if it is a worker.
pub fn get() -> Option<&'static dyn Surroundings> {
    SURROUNDINGS.get().map(|surroundings| &**surroundings)
}
