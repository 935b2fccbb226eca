//! What a process really holds, as its budget asks for it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use tryworks_io::resident::anonymous_resident;

/// How often the system is asked, at most: asking takes some ten microseconds.
const LOOK_EVERY_MS: u64 = 5;

/// Tells the anonymous resident set, if it is time to look at it. Without a number from the system the estimates stand alone.
pub(crate) fn gauge() -> impl Fn() -> Option<u64> + Send + Sync + 'static {
    let start = Instant::now();
    // The time of the next look, in milliseconds since the start.
    let next = AtomicU64::new(0);
    move || {
        let now = start.elapsed().as_millis() as u64;
        let due = next.load(Relaxed);
        let ours = now >= due && next.compare_exchange(due, now + LOOK_EVERY_MS, Relaxed, Relaxed).is_ok();
        if ours { anonymous_resident().ok() } else { None }
    }
}
