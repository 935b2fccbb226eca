//! Frames held in memory: where rows own memory of their own, many small pieces become one.
//!
//! Rows that point elsewhere are dear to hold as values: whoever reads them later misses the caches once for each, and
//! so does whoever frees them. Encoded while they are still near, they are read from end to end, and freed at once.

use crate::error::{Error, Result};
use crate::host::{FrameWriter, Frames};
use crate::memory::Reservation;
use std::sync::Arc;

/// A sequence of frames in memory, being written and then read.
pub(crate) struct HeldFrames {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    /// Gives the budget back when the frames go.
    held: Reservation,
}

impl HeldFrames {
    /// No frames yet, that will take about what `held` has of the budget.
    pub(crate) fn new(held: Reservation) -> Self {
        HeldFrames { bytes: Vec::with_capacity(held.bytes() as usize), ends: Vec::new(), held }
    }
}

impl FrameWriter for HeldFrames {
    fn frame(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Arc<dyn Frames>> {
        self.bytes.shrink_to_fit();
        let taken = (self.bytes.len() + self.ends.len() * size_of::<usize>()) as u64;
        if !self.held.resize(taken.min(self.held.bytes())) {
            return Err(Error::Bug("a smaller part of the budget was refused".into()));
        }
        Ok(Arc::new(*self))
    }
}

impl Frames for HeldFrames {
    fn view<'a>(&'a self, index: usize, _: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Ok(&self.bytes[start..self.ends[index]])
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn bytes(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[test]
    fn frames_come_back_and_give_back_what_they_do_not_take() {
        let memory = Memory::new(8000);
        let mut held = memory.reservation();
        assert!(held.hold(3000));
        let mut writer = Box::new(HeldFrames::new(held));
        for frame in [&b"one"[..], b"", b"three"] {
            writer.frame(frame).unwrap();
        }
        let frames = writer.finish().unwrap();
        let read: Vec<Vec<u8>> =
            (0..frames.len()).map(|at| frames.view(at, &mut Vec::new()).unwrap().to_vec()).collect();
        assert_eq!(read, [&b"one"[..], b"", b"three"]);
        assert_eq!(memory.used(), 8 + 3 * 8);
        drop(frames);
        assert_eq!(memory.used(), 0);
    }
}
