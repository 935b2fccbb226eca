//! Waits for a state. No test depends on how long something takes, only on whether it happens.

use std::time::{Duration, Instant};

/// How long a test waits for a state before it fails.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// Waits until `look` finds what it looks for, and returns that.
///
/// # Panics
/// If `look` has not found it after [`DEADLINE`].
///
/// ```
/// let mut left = 3;
/// let found = tryworks_testing::until("the third look", || {
///     left -= 1;
///     (left == 0).then_some("found")
/// });
/// assert_eq!(found, "found");
/// ```
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Waits until a condition is true.
///
/// # Panics
/// If it is not true after [`DEADLINE`].
#[track_caller]
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    until(what, || so().then_some(()));
}
