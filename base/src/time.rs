//! Time, as a shell hands it to a pure state: nanoseconds that the shell counts by its clock.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops;
use std::time::{Duration, Instant};

/// Nanoseconds since a moment that the shell chose. Only differences have a meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// The time that has passed since `earlier`; zero if that is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl ops::Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}ms", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A clock that counts from when it was begun: where a shell gets the time from that it hands to a state.
///
/// ```
/// let clock = tryworks_base::time::Clock::begin();
/// let then = clock.now();
/// assert!(clock.now() >= then && clock.at(then) <= std::time::Instant::now());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that shows the beginning of its time.
    #[must_use]
    pub fn begin() -> Self {
        Clock(Instant::now())
    }

    /// What it shows now.
    #[must_use]
    pub fn now(self) -> Time {
        Time(0) + self.0.elapsed()
    }

    /// When it shows a time.
    #[must_use]
    pub fn at(self, time: Time) -> Instant {
        self.0 + Duration::from_nanos(time.0)
    }
}
