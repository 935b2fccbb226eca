//! The memory budget of a process: operators reserve here what they hold, and a refused reservation tells them to
//! spill.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The memory budget of a process, counted in bytes.
///
/// Operators reserve by estimates. Where the process can be asked how much it really holds, bytes that nobody reserved
/// count as if they were reserved. Beyond the budget, every reservation is refused.
///
/// ```
/// use tryworks_base::memory::Memory;
/// let memory = Memory::new(1000);
/// let mut held = memory.reservation();
/// assert!(held.grow(900) && !held.grow(200));
/// drop(held);
/// assert_eq!(memory.used(), 0);
/// ```
pub struct Memory {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
    spilled: AtomicU64,
    gauge: Option<Box<Gauge>>,
    /// What the process held at the start.
    start: u64,
    /// What the process held when nothing was reserved last: memory of other code, and freed memory that the allocator
    /// keeps.
    idle: AtomicU64,
    /// What the process held at the last look.
    resident: AtomicU64,
    /// What it held at the last look beyond `idle` and the reservations.
    uncounted: AtomicU64,
}

/// Returns what the process really holds, or `None` while the last answer is not older than the given age.
type Gauge = dyn Fn(Duration) -> Option<u64> + Send + Sync;

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Memory");
        debug.field("limit", &self.limit).field("used", &self.used).field("uncounted", &self.uncounted);
        debug.finish_non_exhaustive()
    }
}

/// The share of the budget, in eighths, for what outlives its task (shuffled and cached blocks). The rest is left to
/// running tasks, so that readers can always work.
const HELD_SHARE: u64 = 4;

/// What a process takes for itself without reserving it: stacks, buffers, what the allocator keeps.
const OWN: u64 = 16 << 20;

/// The greatest age of the number of what the process holds: asking the system takes some ten microseconds.
const OLDEST: Duration = Duration::from_millis(5);
/// The greatest age once the process holds half of the budget. In a millisecond a core fills a few mebibytes.
const OLDEST_NEAR: Duration = Duration::from_millis(1);

impl Memory {
    /// A budget of `limit` bytes that counts by estimates alone.
    pub fn new(limit: u64) -> Arc<Self> {
        Memory::with_gauge(limit, None)
    }

    /// A budget of `limit` bytes that is corrected by `gauge`. It is asked with the greatest age of an answer, and returns
    /// the bytes that the process really holds, or `None` while the last answer is not older than that.
    pub fn watched(limit: u64, gauge: impl Fn(Duration) -> Option<u64> + Send + Sync + 'static) -> Arc<Self> {
        Memory::with_gauge(limit, Some(Box::new(gauge)))
    }

    fn with_gauge(limit: u64, gauge: Option<Box<Gauge>>) -> Arc<Self> {
        let start = gauge.as_ref().and_then(|gauge| gauge(Duration::ZERO)).unwrap_or(0);
        Arc::new(Memory {
            limit,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            spilled: AtomicU64::new(0),
            gauge,
            start,
            idle: AtomicU64::new(start),
            resident: AtomicU64::new(start),
            uncounted: AtomicU64::new(0),
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

    /// The most that was reserved at any time.
    pub fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// How many bytes have been written to spill files.
    pub fn spilled(&self) -> u64 {
        self.spilled.load(Relaxed)
    }

    /// Counts bytes written to a spill file.
    pub fn note_spilled(&self, bytes: u64) {
        self.spilled.fetch_add(bytes, Relaxed);
    }

    /// Looks at what the process really holds, if it is time for that.
    fn look(&self) {
        let Some(gauge) = &self.gauge else { return };
        let is_near = self.resident.load(Relaxed) > self.start.saturating_add(self.limit / 2);
        let Some(resident) = gauge(if is_near { OLDEST_NEAR } else { OLDEST }) else { return };
        let used = self.used();
        if used == 0 {
            self.idle.store(resident, Relaxed);
        }
        self.resident.store(resident, Relaxed);
        self.uncounted.store(resident.saturating_sub(self.idle.load(Relaxed) + OWN + used), Relaxed);
    }

    /// What the process really held at the last look; 0 if that is not known.
    pub fn resident(&self) -> u64 {
        self.look();
        self.resident.load(Relaxed)
    }

    /// Whether the process holds more than the budget and what it held at the start. The allocator does not return
    /// freed memory to the system at once. So what the process holds while nothing is reserved does not count: no
    /// operator could give it back.
    pub fn is_over(&self) -> bool {
        let allowed = self.start.saturating_add(self.limit).saturating_add(OWN);
        self.resident() > allowed.max(self.idle.load(Relaxed))
    }

    /// An empty reservation.
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { memory: self.clone(), bytes: 0 }
    }

    fn take(&self, bytes: u64, ceiling: u64) -> bool {
        let refused = self.is_over() && ceiling < u64::MAX;
        let uncounted = self.uncounted.load(Relaxed);
        let taken = self.used.fetch_update(Relaxed, Relaxed, |used| {
            let after = used.saturating_add(bytes);
            (!refused && after.saturating_add(uncounted) <= ceiling).then_some(after)
        });
        if let Ok(before) = taken {
            self.peak.fetch_max(before + bytes, Relaxed);
        }
        taken.is_ok()
    }
}

/// A part of the budget, returned when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Reservation {
    /// Takes `bytes` more for a running task. Returns false, and takes nothing, when the budget does not allow it.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let granted = self.memory.take(bytes, self.memory.limit);
        self.bytes += if granted { bytes } else { 0 };
        granted
    }

    /// Takes `bytes` more for something that outlives its task, as far as the budget allows.
    #[must_use]
    pub fn hold(&mut self, bytes: u64) -> bool {
        let granted = self.memory.take(bytes, self.memory.limit / 8 * HELD_SHARE);
        self.bytes += if granted { bytes } else { 0 };
        granted
    }

    /// Takes `bytes` more whatever the budget says: for the small, bounded working memory without which no task could
    /// continue.
    pub fn insist(&mut self, bytes: u64) {
        self.memory.take(bytes, u64::MAX);
        self.bytes += bytes;
    }

    /// Grows or shrinks to `bytes`. Returns false, and changes nothing, when growing is refused.
    #[must_use]
    pub fn resize(&mut self, bytes: u64) -> bool {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        self.memory.used.fetch_sub(self.bytes - bytes, Relaxed);
        self.bytes = bytes;
        true
    }

    /// What this reservation holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget of 1000 in a process that holds what the test says, 300 at the start.
    fn watched() -> (Arc<Memory>, Arc<AtomicU64>) {
        let real = Arc::new(AtomicU64::new(300));
        let gauge = real.clone();
        (Memory::watched(1000, move |_| Some(gauge.load(Relaxed))), real)
    }

    #[test]
    fn uncounted_memory_weighs_as_reserved_memory() {
        let (memory, real) = watched();
        let (mut held, mut working) = (memory.reservation(), memory.reservation());
        assert!(held.hold(100));
        real.store(OWN + 300 + 100 + 350, Relaxed);
        assert!(held.hold(50));
        real.store(OWN + 300 + 150 + 350, Relaxed);
        assert!(!held.hold(1), "350 that were not reserved and 150 are half of the budget");
        assert!(working.grow(500));
        real.store(OWN + 300 + 650 + 350, Relaxed);
        assert!(!working.grow(1));
        working.insist(100);
        drop((held, working));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn beyond_the_budget_everything_is_refused_but_what_has_to_be() {
        let (memory, real) = watched();
        let mut held = memory.reservation();
        assert!(held.hold(10) && !memory.is_over());
        real.store(OWN + 1301, Relaxed);
        assert!(memory.is_over() && !held.hold(0) && !held.grow(0));
        held.insist(10);
        assert!(held.resize(5), "less is never refused");
        real.store(OWN + 1300, Relaxed);
        assert!(!memory.is_over());
    }

    #[test]
    fn memory_that_is_free_and_not_returned_is_used_again() {
        let (memory, real) = watched();
        let mut held = memory.reservation();
        assert!(held.hold(400));
        real.store(OWN + 2000, Relaxed);
        assert!(memory.is_over());
        drop(held);
        // All is returned to the budget, but not to the system.
        let mut held = memory.reservation();
        assert!(!memory.is_over() && held.hold(500));
        real.store(OWN + 2001, Relaxed);
        assert!(memory.is_over() && !held.hold(1), "what is new counts");
    }
}
