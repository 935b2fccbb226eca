//! Spilled sequences come back as they were written, from any thread, and nothing stays in the directory.

use proptest::prelude::*;
use std::sync::Arc;
use tryworks_base::Error;
use tryworks_base::frames::Frames;
use tryworks_base::memory::Memory;
use tryworks_store::spill::{SpillOptions, SpillSpace};

fn space(compress: bool) -> (tempfile::TempDir, Arc<Memory>, SpillSpace) {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::new(64 << 20);
    let space = SpillSpace::new(dir.path().into(), memory.clone(), SpillOptions { compress, quota: None });
    (dir, memory, space)
}

fn spill(space: &SpillSpace, frames: &[Vec<u8>]) -> Arc<dyn Frames> {
    let mut writer = space.writer().unwrap();
    frames.iter().for_each(|frame| writer.frame(frame).unwrap());
    writer.finish().unwrap()
}

/// A frame that compresses well, or not, or is empty.
fn frame(seed: u64, len: usize) -> Vec<u8> {
    match seed % 3 {
        0 => Vec::new(),
        1 => format!("{seed} whales ").into_bytes().into_iter().cycle().take(len).collect(),
        _ => noise(seed, len),
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn frames_come_back_as_they_were(
        shapes in prop::collection::vec((any::<u64>(), prop_oneof![0usize..20, 0usize..5000, 0usize..700_000]), 0..30),
        compress: bool,
    ) {
        let (dir, memory, space) = space(compress);
        let frames: Vec<_> = shapes.iter().map(|(seed, len)| frame(*seed, *len)).collect();
        let spilled = spill(&space, &frames);
        prop_assert_eq!(spilled.len(), frames.len());
        prop_assert_eq!(spilled.bytes(), space.used());
        prop_assert!(memory.spilled() <= spilled.bytes() && spilled.bytes() - memory.spilled() < 4096);
        let mut found = b"what was there before".to_vec();
        for (index, frame) in frames.iter().enumerate().rev() {
            prop_assert_eq!(spilled.view(index, &mut found).unwrap(), frame);
        }
        prop_assert!(matches!(spilled.view(frames.len(), &mut found), Err(Error::Bug(_))));
        drop(spilled);
        prop_assert_eq!((space.used(), memory.used()), (0, 0));
        prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_thousand_sequences_of_a_thousand_frames_hold_little_memory() {
    let (_dir, memory, space) = space(true);
    let one: Vec<Vec<u8>> = (0..1024).map(|i| frame(i, 200)).collect();
    let all: Vec<_> = (0..100).map(|_| spill(&space, &one)).collect();
    assert!(memory.used() < 100 * 3 * 1024, "{} bytes for {} frames", memory.used(), 100 * 1024);
    let mut found = Vec::new();
    assert_eq!(all[77].view(1000, &mut found).unwrap(), one[1000]);
}

#[test]
fn threads_write_read_and_drop_at_the_same_time() {
    let (dir, memory, space) = space(true);
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let space = space.clone();
            scope.spawn(move || {
                let mut kept: Vec<(Vec<Vec<u8>>, Arc<dyn Frames>)> = Vec::new();
                let mut found = Vec::new();
                for round in 0..12u64 {
                    let frames: Vec<_> =
                        (0..40).map(|i| frame(thread * 1000 + round * 40 + i, (i * 997 % 30_000) as usize)).collect();
                    let spilled = spill(&space, &frames);
                    kept.push((frames, spilled));
                    for (frames, spilled) in &kept {
                        for (index, frame) in frames.iter().enumerate() {
                            assert_eq!(spilled.view(index, &mut found).unwrap(), frame);
                        }
                    }
                    if round % 3 == 2 {
                        kept.swap_remove(round as usize % kept.len());
                    }
                }
            });
        }
    });
    assert_eq!((space.used(), memory.used()), (0, 0));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn an_unfinished_writer_leaves_nothing() {
    let (_dir, memory, space) = space(false);
    let mut writer = space.writer().unwrap();
    writer.frame(&[1; 1 << 20]).unwrap();
    assert!(space.used() > 0 && memory.used() > 0);
    drop(writer);
    assert_eq!((space.used(), memory.used()), (0, 0));
}

/// The files have no names, but this process still has them open: the test damages them through that, as a bad disk
/// would.
#[test]
fn damage_on_the_disk_is_found() {
    use std::os::unix::fs::FileExt;
    let (dir, _, space) = space(true);
    let frames: Vec<_> = (0..50).map(|i| frame(i, 3000)).collect();
    let spilled = spill(&space, &frames);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        std::fs::read_link(&path).ok()?.starts_with(dir.path()).then_some(path)
    });
    let [path] = open.collect::<Vec<_>>().try_into().unwrap();
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 20_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 20_000).unwrap();
    let mut found = Vec::new();
    let errors: Vec<_> = (0..50).filter_map(|index| spilled.view(index, &mut found).err()).collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("checksum does not match"), "{}", errors[0]);
    assert!(errors[0].to_string().contains(&*dir.path().to_string_lossy()));
}
