//! An output of a worker that is read as fast as the driver acknowledges it: its window, with a clock and a
//! notification.

use super::state::{Piece, Window};
use tokio::sync::Notify;
use tryworks_base::lock::Lock;
use tryworks_base::time::Clock;

/// An output of a worker.
pub(super) struct Flow {
    clock: Clock,
    window: Lock<Window>,
    /// Notified when the window may have opened.
    opened: Notify,
}

impl Flow {
    pub(super) fn new(clock: Clock) -> Self {
        Flow { clock, window: Lock::default(), opened: Notify::new() }
    }

    /// Waits until more may be read.
    pub(super) async fn turn(&self) {
        loop {
            let until = self.window.lock().turn(self.clock.now());
            let Some(until) = until else { return };
            // Looks at the window again after an acknowledgement, or at that time.
            let _ = tokio::time::timeout_at(self.clock.at(until).into(), self.opened.notified()).await;
        }
    }

    /// Takes in bytes that were read. Returns the piece to send, unless the bytes are cut.
    pub(super) fn took(&self, stderr: bool, bytes: &[u8]) -> Option<Piece> {
        self.window.lock().took(stderr, bytes)
    }

    /// An empty piece that shows the driver a cut, if no other piece came after it.
    pub(super) fn rest(&self, stderr: bool) -> Option<Piece> {
        self.window.lock().rest(stderr)
    }

    /// Acknowledges everything before an offset.
    pub(super) fn heard(&self, offset: u64) {
        self.window.lock().heard(offset);
        self.opened.notify_one();
    }

    /// Everything on its way has arrived, or never will.
    pub(super) fn reset(&self) {
        self.heard(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn reading_continues_after_an_acknowledgement() {
        let flow = Flow::new(Clock::begin());
        while flow.turn().now_or_never().is_some() {
            assert!(flow.took(false, &[b'x'; 64 << 10]).is_some());
        }
        let mut turn = std::pin::pin!(flow.turn());
        assert!(turn.as_mut().now_or_never().is_none());
        flow.heard(64 << 10);
        turn.await;
        assert_eq!(flow.took(false, b"more").unwrap().offset, 256 << 10);
    }
}
