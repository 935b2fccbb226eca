//! How long the supervisor waits before it restarts a process that died.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// A process that ran for this long did not die because of how it was started.
const GOOD_RUN: Duration = Duration::from_secs(30);

/// Doubles each time, until there is a good run.
pub struct Pause {
    next: Duration,
}

impl Pause {
    /// The state before any process died.
    pub fn new() -> Self {
        Pause { next: FIRST }
    }

    /// How long to wait after a run of this length.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= GOOD_RUN {
            self.next = FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_there_is_a_good_run() {
        let mut pause = Pause::new();
        let pauses: Vec<u128> = (0..9).map(|_| pause.after(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(pause.after(GOOD_RUN).as_millis(), 100);
        assert_eq!(pause.after(Duration::ZERO).as_millis(), 200);
    }
}
