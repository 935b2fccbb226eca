//! How much of a worker's output is on its way to the driver. While that is too much, the engine does not read the
//! worker's pipe, which delays its tasks. If no acknowledgement comes for long, output is cut. The offset of the next
//! piece shows how much was cut.

use std::collections::VecDeque;
use std::time::Duration;
use tryworks_scheduler::Time;

/// The most bytes of an output that may be on their way while its pipe is read.
const WINDOW: u64 = 256 << 10;
/// The most pieces of an output that may be on their way while its pipe is read.
const PIECES: usize = 1024;
/// The most bytes that may ever be on their way. What a task wrote is sent with its end, even beyond the window.
const MOST: u64 = 4 * WINDOW;
/// How long an output without acknowledgements delays its tasks before it is cut.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of the end of cut output is kept, in bytes, to be shown if the worker dies.
pub const LAST_WORDS: usize = 2048;

/// A piece of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// The standard error output rather than the standard output.
    pub stderr: bool,
    /// Its offset in everything that the worker wrote. A gap before it means that output was cut.
    pub offset: u64,
    /// The output itself.
    pub bytes: Vec<u8>,
    /// The end of what was cut before it.
    pub cut: Vec<u8>,
}

/// The output of a worker that is on its way.
///
/// ```
/// use tryworks_engine::state::Window;
/// use tryworks_scheduler::Time;
///
/// let mut window = Window::default();
/// assert_eq!(window.turn(Time(0)), None, "nothing is on its way, so it may be read");
/// assert_eq!(window.took(false, b"call me").unwrap().offset, 0);
/// assert_eq!(window.took(false, b" Ishmael").unwrap().offset, 7);
/// ```
#[derive(Debug, Default)]
pub struct Window {
    /// How many bytes were read so far.
    taken: u64,
    /// For each piece on its way: where it ends and how long it is.
    under_way: VecDeque<(u64, u64)>,
    bytes: u64,
    /// Since when the window has been full.
    full: Option<Time>,
    cutting: bool,
    /// The end of what was cut since the last piece, if anything was.
    cut: Option<Vec<u8>>,
}

impl Window {
    fn is_full(&self) -> bool {
        self.bytes >= WINDOW || self.under_way.len() >= PIECES
    }

    /// Until when the output must not be read unless an acknowledgement comes first; `None` if it may be read now.
    pub fn turn(&mut self, now: Time) -> Option<Time> {
        if self.cutting || !self.is_full() {
            return None;
        }
        let since = *self.full.get_or_insert(now);
        self.cutting = now.since(since) >= PATIENCE;
        (!self.cutting).then_some(since + PATIENCE)
    }

    /// Takes in bytes that were read. Returns the piece to send, unless the bytes are cut.
    pub fn took(&mut self, stderr: bool, bytes: &[u8]) -> Option<Piece> {
        let (offset, len) = (self.taken, bytes.len() as u64);
        self.taken += len;
        self.cutting |= self.bytes + len > MOST || self.under_way.len() >= 2 * PIECES;
        if self.cutting {
            let last = self.cut.get_or_insert_default();
            last.extend_from_slice(&bytes[bytes.len().saturating_sub(LAST_WORDS)..]);
            let surplus = last.len().saturating_sub(LAST_WORDS);
            last.drain(..surplus);
            return None;
        }
        self.under_way.push_back((offset + len, len));
        self.bytes += len;
        Some(Piece { stderr, offset, bytes: bytes.to_vec(), cut: self.cut.take().unwrap_or_default() })
    }

    /// An empty piece that shows the driver a cut, if no other piece came after it.
    pub fn rest(&mut self, stderr: bool) -> Option<Piece> {
        let cut = self.cut.take()?;
        Some(Piece { stderr, offset: self.taken, bytes: Vec::new(), cut })
    }

    /// Acknowledges everything before an offset.
    pub fn heard(&mut self, offset: u64) {
        while let Some((_, len)) = self.under_way.pop_front_if(|(end, _)| *end <= offset) {
            self.bytes -= len;
        }
        if !self.is_full() {
            self.full = None;
        }
        // After a cut, the driver has to acknowledge everything before output is sent again.
        self.cutting &= !self.under_way.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1);

    fn fill(window: &mut Window) -> u64 {
        let mut all = 0;
        while window.turn(NOW).is_none() {
            let piece = window.took(false, &[b'x'; 1000]).unwrap();
            assert_eq!((piece.offset, piece.bytes.len()), (all, 1000));
            all += 1000;
        }
        all
    }

    #[test]
    fn acknowledged_output_opens_the_window() {
        let mut window = Window::default();
        let all = fill(&mut window);
        assert_eq!(all, WINDOW.next_multiple_of(1000));
        window.heard(999);
        assert!(window.turn(NOW).is_some(), "half a piece acknowledged counts for nothing");
        window.heard(2_000);
        assert!(window.turn(NOW).is_none());
        assert_eq!(window.took(true, b"more").unwrap().offset, all);
        assert_eq!(window.rest(true), None);
    }

    #[test]
    fn many_small_pieces_are_bounded_too() {
        let mut window = Window::default();
        (0..PIECES).for_each(|_| assert!(window.turn(NOW).is_none() && window.took(false, b"x").is_some()));
        assert!(window.turn(NOW).is_some());
        window.heard(u64::MAX);
        assert!(window.turn(NOW).is_none());
    }

    #[test]
    fn output_that_nobody_acknowledges_is_cut_and_the_next_offset_shows_it() {
        let mut window = Window::default();
        let all = fill(&mut window);
        assert_eq!(window.turn(NOW + PATIENCE / 2), Some(NOW + PATIENCE), "the wait begins when the window is full");
        assert_eq!(window.turn(NOW + PATIENCE), None);
        assert_eq!(window.took(false, b"lost"), None);
        assert_eq!(window.took(false, b" words"), None);
        let rest = window.rest(false).unwrap();
        assert_eq!((rest.offset, &rest.bytes[..], &rest.cut[..]), (all + 10, &b""[..], &b"lost words"[..]));
        assert_eq!(window.rest(false), None);
        assert_eq!(window.took(false, &[b'y'; 5000]), None);
        window.heard(all - 1);
        assert_eq!(window.took(false, b"z"), None, "not everything is acknowledged");
        window.heard(all);
        let next = window.took(false, b"next").unwrap();
        assert_eq!((next.offset, next.cut.len()), (all + 5011, LAST_WORDS));
    }

    #[test]
    fn output_that_is_acknowledged_in_time_is_not_cut() {
        let mut window = Window::default();
        fill(&mut window);
        window.heard(1000);
        let later = NOW + PATIENCE;
        assert!(window.turn(later).is_none() && window.took(false, &[b'x'; 1000]).is_some());
        assert_eq!(window.turn(later), Some(later + PATIENCE), "the wait starts over");
    }

    #[test]
    fn output_sent_with_the_ends_of_tasks_is_bounded() {
        let mut window = Window::default();
        let taken = (0..100).filter(|_| window.took(false, &[b'x'; 64 << 10]).is_some()).count() as u64;
        assert_eq!(taken, MOST >> 16);
    }
}
