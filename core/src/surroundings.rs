//! Where a process that runs tasks for a driver of another process is.

use std::path::PathBuf;
use std::sync::OnceLock;
use tryworks_base::{Result, Shipment};

/// What a process that runs tasks for a driver of another process knows of where it is.
pub trait Surroundings: Send + Sync {
    /// Gets a file of the driver's machine: `None` if it is this machine, where the file itself can be read.
    ///
    /// # Errors
    /// If it cannot be had.
    fn fetch(&self, shipment: &Shipment) -> Result<Option<PathBuf>>;

    /// Where this is, for errors: the engine and its machine.
    fn place(&self) -> String;
}

static SURROUNDINGS: OnceLock<Box<dyn Surroundings>> = OnceLock::new();

/// Says where this process is. A process is told once.
pub fn surround(around: Box<dyn Surroundings>) {
    let _ = SURROUNDINGS.set(around);
}

/// Where this process is, if it runs tasks for a driver of another one.
pub fn get() -> Option<&'static dyn Surroundings> {
    SURROUNDINGS.get().map(|around| &**around)
}
