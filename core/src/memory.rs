//! The budget of a process: what operators hold is reserved here, and a refused reservation is the sign to spill.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The memory budget of a process, counted in bytes.
///
/// ```
/// use tryworks_core::memory::Memory;
/// let memory = Memory::new(1000);
/// let mut held = memory.reservation();
/// assert!(held.grow(900) && !held.grow(200));
/// drop(held);
/// assert_eq!(memory.used(), 0);
/// ```
#[derive(Debug)]
pub struct Memory {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
    spilled: AtomicU64,
    /// How much more the process really holds than was counted, in parts of 256: set from the anonymous resident set.
    correction: AtomicU64,
}

/// What outlives its task (shuffled and cached blocks) may take this share of the budget, in parts of 8; the rest is
/// left to running tasks, so that readers can always work.
const HELD_SHARE: u64 = 4;

impl Memory {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Memory {
            limit,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            spilled: AtomicU64::new(0),
            correction: AtomicU64::new(256),
        })
    }

    /// The whole budget.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What is reserved now.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The most that was ever reserved.
    pub fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// How many bytes were written to spill files so far.
    pub fn spilled(&self) -> u64 {
        self.spilled.load(Relaxed)
    }

    /// Counts bytes written to a spill file.
    pub fn note_spilled(&self, bytes: u64) {
        self.spilled.fetch_add(bytes, Relaxed);
    }

    /// Tells the budget how much the process really holds, so that estimates that were too low weigh more from now
    /// on. They are never made to weigh less than they say.
    pub fn observe_resident(&self, anonymous: u64) {
        let used = self.used().max(self.limit / 8);
        let parts = (anonymous.saturating_mul(256) / used.max(1)).clamp(256, 1024);
        self.correction.store(parts, Relaxed);
    }

    /// An empty reservation.
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { memory: self.clone(), bytes: 0 }
    }

    fn take(&self, bytes: u64, ceiling: u64) -> bool {
        let weighed = |used: u64| used.saturating_mul(self.correction.load(Relaxed)) / 256;
        let taken = self.used.fetch_update(Relaxed, Relaxed, |used| {
            let after = used.saturating_add(bytes);
            (weighed(after) <= ceiling).then_some(after)
        });
        if let Ok(before) = taken {
            self.peak.fetch_max(before + bytes, Relaxed);
        }
        taken.is_ok()
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Reservation {
    /// Takes `bytes` more for a running task; false, and nothing taken, when the budget does not allow it.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let granted = self.memory.take(bytes, self.memory.limit);
        self.bytes += if granted { bytes } else { 0 };
        granted
    }

    /// Takes `bytes` more for something that outlives its task.
    #[must_use]
    pub fn hold(&mut self, bytes: u64) -> bool {
        let granted = self.memory.take(bytes, self.memory.limit / 8 * HELD_SHARE);
        self.bytes += if granted { bytes } else { 0 };
        granted
    }

    /// Takes `bytes` more whatever the budget says: for the small, bounded working memory without which nothing
    /// could go on.
    pub fn insist(&mut self, bytes: u64) {
        self.memory.take(bytes, u64::MAX);
        self.bytes += bytes;
    }

    /// Grows or shrinks to `bytes`; false, and nothing changed, when growing is refused.
    #[must_use]
    pub fn resize(&mut self, bytes: u64) -> bool {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        self.memory.used.fetch_sub(self.bytes - bytes, Relaxed);
        self.bytes = bytes;
        true
    }

    /// What is reserved here.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Relaxed);
    }
}
