//! Waiting for a state, as all tests of processes do.

use std::time::{Duration, Instant};

/// How long a test waits for a state before it fails.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// Waits for a state.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
