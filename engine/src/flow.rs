//! How much of a worker's output is on its way to its driver. While that is much, its pipe is not read, which holds its
//! tasks back. If nobody hears it for long, it is cut, and what comes after it tells by its offset how much that was.

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tryworks_base::lock::Lock;

/// So many bytes of an output may be on their way.
const WINDOW: u64 = 256 << 10;
/// And so many pieces of it.
const PIECES: usize = 1024;
/// What a task wrote goes with its end, beyond the window. That has a bound too.
const MOST: u64 = 4 * WINDOW;
/// How long an output of which nothing is heard holds its tasks back.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is kept of the last that was cut, for when the worker dies.
pub(super) const LAST_WORDS: usize = 2048;

/// A piece of an output.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) stderr: bool,
    /// Where in all that was written it begins: what is missing before it was cut.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    /// The last of what was cut before it.
    pub(super) cut: Vec<u8>,
}

/// An output of a worker.
#[derive(Default)]
pub(super) struct Flow {
    state: Lock<State>,
    /// Told when there may be room again.
    room: Notify,
}

#[derive(Default)]
struct State {
    /// All bytes that were read of it.
    taken: u64,
    /// Where the pieces end that are on their way, and how long they are.
    under_way: VecDeque<(u64, u64)>,
    bytes: u64,
    /// Since when there has been no room.
    full: Option<Instant>,
    cutting: bool,
    /// Something was cut since the last piece, and its end.
    cut: Option<Vec<u8>>,
}

impl State {
    fn is_full(&self) -> bool {
        self.bytes >= WINDOW || self.under_way.len() >= PIECES
    }
}

impl Flow {
    /// Waits until more may be read of it.
    pub(super) async fn turn(&self) {
        loop {
            let until = {
                let mut state = self.state.lock();
                if state.cutting || !state.is_full() {
                    return;
                }
                let since = *state.full.get_or_insert_with(Instant::now);
                if since.elapsed() >= PATIENCE {
                    state.cutting = true;
                    return;
                }
                since + PATIENCE
            };
            // Either way it looks again.
            let _ = tokio::time::timeout_at(until.into(), self.room.notified()).await;
        }
    }

    /// Something was read: gives what is to be said of it, if it is not cut.
    pub(super) fn took(&self, stderr: bool, bytes: &[u8]) -> Option<Piece> {
        let mut state = self.state.lock();
        let (offset, len) = (state.taken, bytes.len() as u64);
        state.taken += len;
        state.cutting |= state.bytes + len > MOST || state.under_way.len() >= 2 * PIECES;
        if state.cutting {
            let last = state.cut.get_or_insert_default();
            last.extend_from_slice(&bytes[bytes.len().saturating_sub(LAST_WORDS)..]);
            let surplus = last.len().saturating_sub(LAST_WORDS);
            last.drain(..surplus);
            return None;
        }
        state.under_way.push_back((offset + len, len));
        state.bytes += len;
        Some(Piece { stderr, offset, bytes: bytes.to_vec(), cut: state.cut.take().unwrap_or_default() })
    }

    /// What tells of something that was cut, if nothing has come after it.
    pub(super) fn rest(&self, stderr: bool) -> Option<Piece> {
        let mut state = self.state.lock();
        let cut = state.cut.take()?;
        Some(Piece { stderr, offset: state.taken, bytes: Vec::new(), cut })
    }

    /// All before an offset was heard.
    pub(super) fn heard(&self, offset: u64) {
        let mut state = self.state.lock();
        while let Some((_, len)) = state.under_way.pop_front_if(|(end, _)| *end <= offset) {
            state.bytes -= len;
        }
        if !state.is_full() {
            state.full = None;
        }
        // Who has been silent for so long has to hear all of it first.
        state.cutting &= !state.under_way.is_empty();
        drop(state);
        self.room.notify_one();
    }

    /// Whatever is on its way has arrived, or never will.
    pub(super) fn begin_anew(&self) {
        self.heard(u64::MAX);
    }
}

/// A number that no other worker ever has, of whatever engine: it is by this that its output is known.
pub(super) fn own_number() -> u64 {
    let mut random = [0; 8];
    // The system has always some of it once it has begun.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    u64::from_le_bytes(random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn may_read(flow: &Flow) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { flow.turn().now_or_never().is_some() })
    }

    fn fill(flow: &Flow) -> u64 {
        let mut all = 0;
        while may_read(flow) {
            let piece = flow.took(false, &[b'x'; 1000]).unwrap();
            assert_eq!((piece.offset, piece.bytes.len()), (all, 1000));
            all += 1000;
        }
        all
    }

    #[test]
    fn what_is_heard_makes_room() {
        let flow = Flow::default();
        let all = fill(&flow);
        assert_eq!(all, WINDOW.next_multiple_of(1000));
        flow.heard(999);
        assert!(!may_read(&flow), "half a piece is none");
        flow.heard(2_000);
        assert!(may_read(&flow));
        assert_eq!(flow.took(true, b"more").unwrap().offset, all);
        assert_eq!(flow.rest(true), None);
    }

    #[test]
    fn many_small_pieces_are_bounded_too() {
        let flow = Flow::default();
        (0..PIECES).for_each(|_| assert!(may_read(&flow) && flow.took(false, b"x").is_some()));
        assert!(!may_read(&flow));
        flow.begin_anew();
        assert!(may_read(&flow));
    }

    #[test]
    fn what_nobody_hears_is_cut_and_the_next_piece_tells_of_it_by_its_offset() {
        let flow = Flow::default();
        let all = fill(&flow);
        // As when nothing was heard for as long as it may hold a task back.
        flow.state.lock().full = Instant::now().checked_sub(PATIENCE);
        assert!(may_read(&flow));
        assert_eq!(flow.took(false, b"lost"), None);
        assert_eq!(flow.took(false, b" words"), None);
        let rest = flow.rest(false).unwrap();
        assert_eq!((rest.offset, &rest.bytes[..], &rest.cut[..]), (all + 10, &b""[..], &b"lost words"[..]));
        assert_eq!(flow.rest(false), None);
        assert_eq!(flow.took(false, &[b'y'; 5000]), None);
        flow.heard(all - 1);
        assert_eq!(flow.took(false, b"z"), None, "not all was heard");
        flow.heard(all);
        let next = flow.took(false, b"next").unwrap();
        assert_eq!((next.offset, next.cut.len()), (all + 5011, LAST_WORDS));
    }

    #[test]
    fn what_goes_with_the_ends_of_tasks_has_a_bound() {
        let flow = Flow::default();
        let taken = (0..100).filter(|_| flow.took(false, &[b'x'; 64 << 10]).is_some()).count() as u64;
        assert_eq!(taken, MOST >> 16);
    }
}
