//! The spill space of a process: a directory, a few nameless files in it, and the quota for them.

use super::file::SharedFile;
use super::sequence::Writer;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tryworks_base::disk;
use tryworks_base::frames::FrameWriter;
use tryworks_base::lock::Lock;
use tryworks_base::memory::Memory;
use tryworks_base::{Error, Result};

/// How many files the sequences are spread over: a file system lets only one thread at a time extend a file.
const FILES: usize = 4;

/// How a process spills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillOptions {
    /// Compress frames with lz4 where that makes them smaller.
    pub compress: bool,
    /// The most bytes that may be on the disk at once.
    pub quota: Option<u64>,
}

impl Default for SpillOptions {
    fn default() -> Self {
        SpillOptions { compress: true, quota: None }
    }
}

/// Where a process spills. Its files have no names, so nothing is left in the directory, whatever process dies.
///
/// ```
/// use tryworks_base::memory::Memory;
/// use tryworks_store::spill::{SpillOptions, SpillSpace};
/// # fn main() -> tryworks_base::Result<()> {
/// let space = SpillSpace::new(std::env::temp_dir(), Memory::new(1 << 20), SpillOptions::default());
/// let mut writer = space.writer()?;
/// writer.frame(b"there she blows")?;
/// writer.frame(b"")?;
/// let frames = writer.finish()?;
///
/// let mut frame = Vec::new();
/// assert_eq!(frames.view(0, &mut frame)?, b"there she blows");
/// assert_eq!(space.used(), 4096);
/// drop(frames);
/// assert_eq!(space.used(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SpillSpace(Arc<Inner>);

pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) memory: Arc<Memory>,
    pub(super) options: SpillOptions,
    /// Opened when first written to.
    files: [Lock<Option<Arc<SharedFile>>>; FILES],
    /// The file for the next sequence.
    turn: AtomicUsize,
    /// The number of the next sequence. It is part of the checksums, so that a stale range is not taken for a good one.
    next: AtomicU64,
    /// The size of the ranges of all files.
    used: AtomicU64,
}

impl SpillSpace {
    /// A spill space in `dir`, which has to exist by the first spill. Bytes that are written are counted in `memory`.
    pub fn new(dir: PathBuf, memory: Arc<Memory>, options: SpillOptions) -> Self {
        SpillSpace(Arc::new(Inner {
            dir,
            memory,
            options,
            files: Default::default(),
            turn: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            used: AtomicU64::new(0),
        }))
    }

    /// Begins a sequence of frames.
    ///
    /// # Errors
    /// If no file can be created in the directory.
    pub fn writer(&self) -> Result<Box<dyn FrameWriter>> {
        let turn = self.0.turn.fetch_add(1, Relaxed) % FILES;
        let file = self.0.file(turn)?;
        Ok(Box::new(Writer::new(&self.0, file, self.0.next.fetch_add(1, Relaxed))))
    }

    /// The bytes that all live sequences take on the disk, in whole blocks.
    pub fn used(&self) -> u64 {
        self.0.used.load(Relaxed)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }
}

impl Inner {
    fn file(&self, turn: usize) -> Result<Arc<SharedFile>> {
        let mut slot = self.files[turn].lock();
        if let Some(file) = &*slot {
            return Ok(file.clone());
        }
        let file = self.open().map_err(|error| disk::storage("making a spill file", &self.dir, 0, &error))?;
        Ok(slot.insert(Arc::new(SharedFile::new(file))).clone())
    }

    fn open(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.dir)
    }

    /// Counts `len` bytes that are about to be written.
    pub(super) fn reserve(&self, len: u64) -> Result<()> {
        let quota = self.options.quota.unwrap_or(u64::MAX);
        let taken =
            self.used.fetch_update(Relaxed, Relaxed, |used| used.checked_add(len).filter(|after| *after <= quota));
        let Err(used) = taken else { return Ok(()) };
        let needed = format!(
            "{len} bytes more of spill files in {}, where {used} are in use{}",
            self.dir.display(),
            disk::free(&self.dir)
        );
        let advice = "a larger quota, more memory so that less is spilled, or fewer jobs at a time";
        Err(Error::limit("spill_quota", quota, needed, advice))
    }

    pub(super) fn give_back(&self, len: u64) {
        self.used.fetch_sub(len, Relaxed);
    }

    /// The error of a write of `len` bytes.
    pub(super) fn refused(&self, len: u64, error: &io::Error) -> Error {
        disk::refused("a spill file", &self.dir, len, self.used.load(Relaxed), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn space(options: SpillOptions) -> SpillSpace {
        SpillSpace::new(std::env::temp_dir(), Memory::new(1 << 20), options)
    }

    fn files(space: &SpillSpace) -> Vec<Arc<SharedFile>> {
        space.0.files.iter().filter_map(|file| file.lock().clone()).collect()
    }

    #[test]
    fn a_full_disk_says_how_much_was_needed_and_where() {
        let space = space(SpillOptions { compress: false, quota: None });
        let full = File::options().write(true).open("/dev/full").unwrap();
        *space.0.files[0].lock() = Some(Arc::new(SharedFile::new(full)));
        let mut writer = space.writer().unwrap();
        writer.frame(&[7; 5000]).unwrap();
        let error = writer.finish().err().unwrap();
        assert!(matches!(error, Error::Storage { .. }));
        let text = error.to_string();
        assert!(text.contains("No space left") && text.contains("8192 bytes more were needed"), "{text}");
        assert!(text.contains(&*std::env::temp_dir().to_string_lossy()) && text.contains("are free"), "{text}");
        assert_eq!(space.used(), 0, "what failed takes nothing");
    }

    #[test]
    fn dropped_sequences_give_their_disk_space_back() {
        let space = space(SpillOptions { compress: false, quota: None });
        let write = |byte: u8| {
            let mut writer = space.writer().unwrap();
            (0..300).for_each(|_| writer.frame(&[byte; 4096]).unwrap());
            writer.finish().unwrap()
        };
        let mut sequences: Vec<_> = (0..12).map(|byte| Some(write(byte))).collect();
        let disk = || files(&space).iter().map(|file| file.file().metadata().unwrap().blocks() * 512).sum::<u64>();
        let all: u64 = sequences.iter().flatten().map(|frames| frames.bytes()).sum();
        assert_eq!(space.used(), all);
        assert!(disk() >= all);
        // Holes in the middle, not the ends.
        sequences[..8].iter_mut().for_each(|frames| *frames = None);
        let left: u64 = sequences.iter().flatten().map(|frames| frames.bytes()).sum();
        assert_eq!(space.used(), left);
        assert!(disk() < left + left / 4, "{} of {left}", disk());
        // New sequences fit into the holes.
        let ends: Vec<u64> = files(&space).iter().map(|file| file.file().metadata().unwrap().len()).collect();
        sequences.extend((0..8).map(|byte| Some(write(byte))));
        assert_eq!(ends, files(&space).iter().map(|file| file.file().metadata().unwrap().len()).collect::<Vec<_>>());
        let mut frame = Vec::new();
        for (i, frames) in sequences.iter().enumerate() {
            let Some(frames) = frames else { continue };
            for index in [0, 150, 299] {
                let found = frames.view(index, &mut frame).unwrap();
                assert_eq!(found, [if i < 12 { i as u8 } else { i as u8 - 12 }; 4096]);
            }
        }
        sequences.clear();
        assert_eq!((space.used(), disk()), (0, 0));
    }

    #[test]
    fn a_flipped_bit_is_found() {
        use std::os::unix::fs::FileExt;
        for compress in [false, true] {
            let space = space(SpillOptions { compress, quota: None });
            let mut writer = space.writer().unwrap();
            for i in 0..20u8 {
                writer.frame(&vec![i; 1000]).unwrap();
            }
            let frames = writer.finish().unwrap();
            let file = files(&space).remove(0);
            let mut frame = Vec::new();
            let stored = 20 * if compress { 0 } else { 1008 } + if compress { 200 } else { 0 };
            for at in (0..stored).step_by(37) {
                let mut byte = [0];
                file.file().read_exact_at(&mut byte, at).unwrap();
                file.file().write_all_at(&[byte[0] ^ 0x10], at).unwrap();
                let wrong: Vec<_> = (0..20).filter_map(|index| frames.view(index, &mut frame).err()).collect();
                assert_eq!(wrong.len(), 1, "byte {at}");
                assert!(matches!(&wrong[0], Error::Storage { doing, .. } if doing.contains("frame")), "{}", wrong[0]);
                file.file().write_all_at(&byte, at).unwrap();
            }
            assert!((0..20).all(|index| frames.view(index, &mut frame).unwrap() == [index as u8; 1000]));
            file.file().set_len(0).unwrap();
            let error = frames.view(3, &mut frame).err().unwrap().to_string();
            assert!(error.contains("frame 3") && error.contains("ends inside it"), "{error}");
        }
    }

    #[test]
    fn the_quota_is_kept_and_names_its_value() {
        let space = space(SpillOptions { compress: false, quota: Some(1 << 20) });
        let mut writer = space.writer().unwrap();
        let error = (0..2000).find_map(|_| writer.frame(&[1; 1000]).err()).unwrap();
        assert!(matches!(&error, Error::Limit { name, value, .. } if name == "spill_quota" && *value == 1 << 20));
        assert!(error.to_string().contains("262144 bytes more"), "{error}");
        drop(writer);
        assert_eq!(space.used(), 0);
        let mut writer = space.writer().unwrap();
        (0..1000).for_each(|_| writer.frame(&[1; 1000]).unwrap());
        assert_eq!(writer.finish().unwrap().len(), 1000);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let space = SpillSpace::new("/nowhere/at/all".into(), Memory::new(1), SpillOptions::default());
        let error = space.writer().err().unwrap().to_string();
        assert!(error.starts_with("making a spill file failed at /nowhere/at/all"), "{error}");
    }
}
