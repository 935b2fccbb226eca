//! Frames held in memory, for rows that own heap memory: many small allocations become one.
//!
//! Rows with pointers are expensive to hold as values: reading them later causes a cache miss for each, and so does
//! freeing them. So they are encoded while they are still in the CPU's caches. Then they are read sequentially, and
//! freed at once.

use memmap2::{Advice, MmapMut};
use std::sync::Arc;
use tryworks_base::frames::{FrameWriter, Frames};
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Result};

/// Ask for huge pages above this size. The kernel then hands out 512 times fewer pages, and the unused part of the last
/// page is small in comparison.
const LARGE: usize = 16 << 20;

/// A sequence of frames in memory, being written and then read.
pub(crate) struct HeldFrames {
    memory: MmapMut,
    /// The position where each frame ends.
    ends: Vec<usize>,
    /// Returns memory to the budget when the frames are dropped.
    held: Reservation,
}

impl HeldFrames {
    /// An empty sequence with a capacity of the bytes that `held` has reserved.
    pub(crate) fn new(held: Reservation) -> Result<Self> {
        let refused = |error| Error::storage("holding rows", "memory", &error);
        let memory = MmapMut::map_anon(held.bytes().max(1) as usize).map_err(refused)?;
        if memory.len() >= LARGE {
            // If there are no huge pages, small ones work, too.
            let _ = memory.advise(Advice::HugePage);
        }
        Ok(HeldFrames { memory, ends: Vec::new(), held })
    }
}

impl FrameWriter for HeldFrames {
    fn frame(&mut self, bytes: &[u8]) -> Result<()> {
        let start = self.ends.last().copied().unwrap_or(0);
        let free = self.memory.get_mut(start..start + bytes.len());
        free.ok_or_else(|| Error::Bug("frames are longer than their rows".into()))?.copy_from_slice(bytes);
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
        Ok(&self.memory[start..self.ends[index]])
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
