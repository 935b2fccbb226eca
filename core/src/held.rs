//! Frames held in memory: where rows own memory of their own, many small pieces become one.
//!
//! Rows that point elsewhere are dear to hold as values: whoever reads them later misses the caches once for each, and
//! so does whoever frees them. Encoded while they are still near, they are read from end to end, and freed at once.

use memmap2::{Advice, MmapMut};
use std::sync::Arc;
use tryworks_base::frames::{FrameWriter, Frames};
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Result};

/// Ask for huge pages above this size. The kernel then hands out 512 times fewer pages, and the part of the last one that
/// stays unused is small.
const LARGE: usize = 16 << 20;

/// A sequence of frames in memory, being written and then read.
pub(crate) struct HeldFrames {
    room: MmapMut,
    /// Where each frame ends.
    ends: Vec<usize>,
    /// Gives the budget back when the frames go.
    held: Reservation,
}

impl HeldFrames {
    /// No frames yet, with room for what `held` has of the budget.
    pub(crate) fn new(held: Reservation) -> Result<Self> {
        let refused = |error| Error::storage("holding rows", "memory", &error);
        let room = MmapMut::map_anon(held.bytes().max(1) as usize).map_err(refused)?;
        if room.len() >= LARGE {
            // Where there are none, small ones do as well.
            let _ = room.advise(Advice::HugePage);
        }
        Ok(HeldFrames { room, ends: Vec::new(), held })
    }
}

impl FrameWriter for HeldFrames {
    fn frame(&mut self, bytes: &[u8]) -> Result<()> {
        let start = self.ends.last().copied().unwrap_or(0);
        let room = self.room.get_mut(start..start + bytes.len());
        room.ok_or_else(|| Error::Bug("frames are longer than their rows".into()))?.copy_from_slice(bytes);
        self.ends.push(start + bytes.len());
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Arc<dyn Frames>> {
        let taken = self.ends.last().copied().unwrap_or(0) + self.ends.len() * size_of::<usize>();
        if !self.held.resize(self.held.bytes().min(taken as u64)) {
            return Err(Error::Bug("a smaller part of the budget was refused".into()));
        }
        Ok(Arc::new(*self))
    }
}

impl Frames for HeldFrames {
    fn view<'a>(&'a self, index: usize, _: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Ok(&self.room[start..self.ends[index]])
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
    use tryworks_base::memory::Memory;

    #[test]
    fn frames_come_back_and_give_back_what_they_do_not_take() {
        let memory = Memory::new(8000);
        let mut held = memory.reservation();
        assert!(held.hold(3000));
        let mut writer = Box::new(HeldFrames::new(held).unwrap());
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
