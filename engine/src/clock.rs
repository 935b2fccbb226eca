//! The engine's clock: the only source of the time that the loop hands to the state.

use std::time::{Duration, Instant};
use tryworks_scheduler::Time;

/// A clock that counts from its creation.
#[derive(Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn begin() -> Self {
        Clock(Instant::now())
    }

    pub(super) fn now(self) -> Time {
        Time(0) + self.0.elapsed()
    }

    /// The instant at which this clock shows a time.
    pub(super) fn at(self, time: Time) -> Instant {
        self.0 + Duration::from_nanos(time.0)
    }
}
