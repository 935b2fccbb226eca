//! Whether a process may begin another task: not while it holds more than its budget.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use tryworks_core::memory::Memory;
use tryworks_io::resident::anonymous_resident;

/// How often the resident set is looked at, at most.
const LOOK_EVERY_MS: u64 = 20;

/// Looks at what the process really holds, and corrects the estimates by it.
pub(crate) struct Admission {
    start: Instant,
    /// When it was looked at last, in milliseconds since the start, and what it was.
    looked: AtomicU64,
    resident: AtomicU64,
}

impl Admission {
    pub(crate) fn new() -> Self {
        Admission { start: Instant::now(), looked: AtomicU64::new(0), resident: AtomicU64::new(0) }
    }

    /// Whether the process holds more than its budget.
    pub(crate) fn is_over(&self, memory: &Memory) -> bool {
        let now = self.start.elapsed().as_millis() as u64;
        let before = self.looked.load(Relaxed);
        if now >= before + LOOK_EVERY_MS && self.looked.compare_exchange(before, now, Relaxed, Relaxed).is_ok() {
            // Without a number from the system the estimates stand alone.
            if let Ok(resident) = anonymous_resident() {
                self.resident.store(resident, Relaxed);
                memory.observe_resident(resident);
            }
        }
        self.resident.load(Relaxed) > memory.limit()
    }
}
