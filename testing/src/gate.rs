//! A gate between threads of one process.

use std::sync::{Condvar, Mutex, PoisonError};

/// Holds the threads that reach it until it is opened.
#[derive(Debug, Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// A gate that is shut.
    ///
    /// ```
    /// static GATE: tryworks_testing::Gate = tryworks_testing::Gate::new();
    /// let waits = std::thread::spawn(|| GATE.pass());
    /// GATE.open();
    /// waits.join().unwrap();
    /// ```
    pub const fn new() -> Self {
        Gate { open: Mutex::new(false), opened: Condvar::new() }
    }

    /// Waits until it is open.
    pub fn pass(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            open = self.opened.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Opens it permanently.
    pub fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}
