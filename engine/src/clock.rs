//! The engine's clock: the one place where its loop gets the time from that its state is handed.

use std::time::{Duration, Instant};
use tryworks_scheduler::Time;

/// A clock that counts from when it was begun.
#[derive(Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn begin() -> Self {
        Clock(Instant::now())
    }

    pub(super) fn now(self) -> Time {
        Time(0) + self.0.elapsed()
    }

    /// When this clock shows a time.
    pub(super) fn at(self, time: Time) -> Instant {
        self.0 + Duration::from_nanos(time.0)
    }
}
