//! Blocks come back as they were written: from a file, from memory, and in ranges from another machine.

use bytes::Bytes;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use tryworks_base::frames::Frames;
use tryworks_base::ids::{AttemptId, OutputId};
use tryworks_base::{Error, Result};
use tryworks_store::blocks::{BlockStore, BlockWriter, Held, Landing, MOST_AT_ONCE, OpenBlock, SMALL, Sealed, Served};

type Sequences = Vec<Vec<Vec<u8>>>;

struct Place {
    store: BlockStore,
    parent: tempfile::TempDir,
}

fn place() -> Place {
    let parent = tempfile::tempdir().unwrap();
    Place { store: BlockStore::open(&parent.path().join("engine"), None).unwrap(), parent }
}

/// An output, a partition and an attempt.
type Key = (u64, u32, u64);

fn seal(store: &BlockStore, (output, partition, attempt): Key, content: &Sequences, head: &[u8]) -> Sealed {
    let mut writer =
        BlockWriter::new(store.dir(), store.key().id(OutputId(output), partition, AttemptId(attempt)), store.quota());
    for frames in content {
        writer.sequence().unwrap();
        frames.iter().try_for_each(|frame| writer.frame(frame)).unwrap();
    }
    writer.seal(head).unwrap()
}

fn served(store: &BlockStore, key: Key, content: &Sequences, head: &[u8]) -> Served {
    let (output, partition, attempt) = (OutputId(key.0), key.1, AttemptId(key.2));
    let id = store.add(output, partition, attempt, seal(store, key, content, head), Vec::new()).unwrap();
    Served::new(store.get(id).unwrap()).unwrap()
}

/// Compares all of a block with what was written.
fn same(block: &Arc<OpenBlock>, content: &Sequences, head: &[u8]) {
    assert_eq!((block.head(), block.sequences()), (head, content.len()));
    let mut scratch = vec![9; 3];
    for (i, frames) in content.iter().enumerate() {
        let sequence = block.sequence(i).unwrap();
        assert_eq!(sequence.len(), frames.len());
        let payload: usize = frames.iter().map(|frame| frame.len() + if frame.is_empty() { 0 } else { 8 }).sum();
        assert_eq!(sequence.bytes(), payload as u64);
        for (j, frame) in frames.iter().enumerate() {
            assert!(sequence.view(j, &mut scratch).unwrap() == frame, "frame {j} of sequence {i}");
        }
        assert!(matches!(sequence.view(frames.len(), &mut scratch), Err(Error::Bug(_))));
    }
    assert!(matches!(block.sequence(content.len()), Err(Error::Bug(_))));
}

/// Fetches the bytes of these frames, in pieces of `step` bytes.
fn fetch(block: &OpenBlock, from: &Served, sequence: usize, frames: std::ops::Range<usize>, step: u64) -> Result<()> {
    for gap in block.missing(sequence, frames)? {
        let mut start = gap.start;
        while start < gap.end {
            let mut bytes = Vec::new();
            from.read(start..gap.end.min(start + step), &mut bytes)?;
            block.supply(start, &Bytes::from(bytes))?;
            start += step;
        }
    }
    Ok(())
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![4 => Just(0..1usize), 6 => Just(1..40), 4 => Just(1000..6000), 1 => Just(250_000..600_000)];
    (len.prop_flat_map(|range| range), any::<u8>())
        .prop_map(|(len, seed)| (0..len).map(|i| (i * 31 + usize::from(seed)) as u8).collect())
}

fn content() -> impl Strategy<Value = Sequences> {
    prop::collection::vec(prop::collection::vec(frame(), 0..12), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_written_is_read(content in content(), head in prop::collection::vec(any::<u8>(), 0..300), step in 1000..400_000u64) {
        let Place { store, parent } = place();
        let sealed = seal(&store, (3, 1, 4), &content, &head);
        let bytes = sealed.bytes();
        let is_small = matches!(sealed, Sealed::Small(_));
        prop_assert_eq!(is_small, bytes <= SMALL as u64);
        let id = store.add(OutputId(3), 1, AttemptId(4), sealed, Vec::new()).unwrap();
        prop_assert_eq!(store.used(), bytes);
        let pin = store.get(id).unwrap();
        let whole = match pin.held() {
            Held::Small(bytes) => bytes.clone(),
            Held::File { path, .. } => std::fs::read(path).unwrap().into(),
        };
        prop_assert_eq!(whole.len() as u64, bytes);
        same(&OpenBlock::held(pin.held()).unwrap(), &content, &head);
        same(&OpenBlock::memory("a copy", whole).unwrap(), &content, &head);

        let served = Served::new(pin).unwrap();
        let remote = OpenBlock::remote("elsewhere", &served.table().unwrap()).unwrap();
        for (i, frames) in content.iter().enumerate() {
            fetch(&remote, &served, i, 0..frames.len(), step).unwrap();
        }
        same(&remote, &content, &head);
        drop(served);
        drop(store);
        prop_assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}

/// Sequences of 512 frames of many lengths.
fn many(sequences: usize) -> Sequences {
    let frame =
        |i: usize, j: usize| vec![(i * 7 + j) as u8; if j.is_multiple_of(3) { 0 } else { (i * 131 + j * 17) % 900 }];
    (0..sequences).map(|i| (0..512).map(|j| frame(i, j)).collect()).collect()
}

#[test]
fn a_remote_reader_holds_only_what_it_was_given_and_did_not_forget() {
    let Place { store, parent: _parent } = place();
    let content = many(5);
    let served = served(&store, (0, 0, 1), &content, b"");
    let block = OpenBlock::remote("the block of engine 3", &served.table().unwrap()).unwrap();
    let mut scratch = Vec::new();
    for buckets in [0..101, 101..102, 102..512] {
        for (i, frames) in content.iter().enumerate() {
            let sequence = block.sequence(i).unwrap();
            let range = block.range(i, buckets.clone()).unwrap();
            assert_eq!(block.missing(i, buckets.clone()).unwrap(), std::slice::from_ref(&range));
            fetch(&block, &served, i, buckets.clone(), 1 << 20).unwrap();
            assert_eq!(block.missing(i, buckets.clone()).unwrap(), []);
            for j in buckets.clone() {
                assert_eq!(sequence.view(j, &mut scratch).unwrap(), frames[j]);
            }
            block.forget(range.clone());
            assert_eq!(block.missing(i, buckets.clone()).unwrap(), std::slice::from_ref(&range));
            let last = buckets.end - 1;
            let error = sequence.view(last, &mut scratch).err().unwrap();
            assert!(matches!(&error, Error::Bug(text) if text.contains("engine 3")), "{error}");
            assert_eq!(sequence.view(0, &mut scratch).unwrap(), b"", "an empty frame needs nothing");
        }
    }
}

#[test]
fn fetched_frames_may_wait_on_the_disk() {
    let Place { store, parent } = place();
    let content = many(2);
    let served = served(&store, (0, 0, 1), &content, b"head");
    let block = OpenBlock::remote("elsewhere", &served.table().unwrap()).unwrap();
    let mut landing = Landing::create(parent.path()).unwrap();
    let ranges = [block.range(0, 10..60).unwrap(), block.range(1, 10..60).unwrap()];
    let mut bytes = Vec::new();
    for range in &ranges {
        served.read(range.clone(), &mut bytes).unwrap();
        landing.write(&bytes).unwrap();
    }
    let landed = landing.finish().unwrap();
    let cut = (ranges[0].end - ranges[0].start) as usize;
    block.supply(ranges[0].start, &landed.slice(..cut)).unwrap();
    block.supply(ranges[1].start, &landed.slice(cut..)).unwrap();
    drop(landed);
    for (i, frames) in content.iter().enumerate() {
        let sequence = block.sequence(i).unwrap();
        assert!((10..60).all(|j| sequence.view(j, &mut bytes).unwrap() == frames[j]));
    }
    assert!(Landing::create(parent.path()).unwrap().finish().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "a landing has no name");
}

#[test]
fn only_ranges_of_frames_are_served() {
    let Place { store, parent: _parent } = place();
    let content = vec![vec![vec![1; 1 << 20]; 20]];
    let served = served(&store, (0, 0, 1), &content, b"head");
    let end = 20 * ((1 << 20) + 8);
    let mut bytes = Vec::new();
    served.read(end - 10..end, &mut bytes).unwrap();
    assert_eq!(bytes.len(), 10);
    served.read(5..5 + MOST_AT_ONCE, &mut bytes).unwrap();
    for (range, word) in [
        (end - 10..end + 1, "beyond"),
        (0..u64::MAX, "beyond"),
        (u64::MAX - 1..u64::MAX, "beyond"),
        (0..MOST_AT_ONCE + 1, "too long"),
        #[expect(clippy::reversed_empty_ranges)]
        (9..8, "beyond"),
    ] {
        let error = served.read(range, &mut bytes).unwrap_err();
        assert!(matches!(&error, Error::Storage { message, .. } if message.contains(word)), "{error}");
    }
}

#[test]
fn bytes_for_another_block_are_found_out() {
    let Place { store, parent: _parent } = place();
    let content = many(1);
    let (one, two) = (served(&store, (0, 0, 1), &content, b""), served(&store, (0, 0, 2), &content, b""));
    let block = OpenBlock::remote("elsewhere", &one.table().unwrap()).unwrap();
    fetch(&block, &two, 0, 0..512, 1 << 20).unwrap();
    let error = block.sequence(0).unwrap().view(1, &mut Vec::new()).map(<[u8]>::len).unwrap_err();
    assert!(matches!(&error, Error::Storage { message, .. } if message.contains("checksum")), "{error}");
    let frames = block.range(0, 0..512).unwrap();
    assert!(matches!(block.supply(frames.end - 1, &Bytes::from_static(b"12")), Err(Error::Storage { .. })));
    assert!(matches!(block.supply(u64::MAX, &Bytes::from_static(b"12")), Err(Error::Storage { .. })));
    let here = OpenBlock::held(store.get(store.key().id(OutputId(0), 0, AttemptId(1))).unwrap().held()).unwrap();
    assert!(matches!(here.supply(0, &Bytes::from_static(b"1")), Err(Error::Bug(_))));
    assert_eq!(here.missing(0, 0..512).unwrap(), []);
}

#[test]
fn tens_of_thousands_of_frames_take_little() {
    let Place { store, parent: _parent } = place();
    let empty = vec![vec![Vec::new(); 512]; 100];
    let sealed = seal(&store, (0, 0, 1), &empty, b"");
    assert!(sealed.bytes() < 52_000, "a byte for each frame: {}", sealed.bytes());
    let content = vec![vec![vec![3; 40]; 512]; 100];
    let served = served(&store, (0, 0, 2), &content, b"");
    let table = served.table().unwrap();
    assert!(table.len() < 52_000, "{}", table.len());
    let block = OpenBlock::remote("elsewhere", &table).unwrap();
    assert!(block.held_bytes() < 104_000, "{}", block.held_bytes());
}

#[test]
fn a_block_in_the_wrong_order_is_our_bug() {
    let Place { store, parent: _parent } = place();
    let mut writer = BlockWriter::new(store.dir(), store.key().id(OutputId(0), 0, AttemptId(1)), store.quota());
    assert!(matches!(writer.frame(b"x"), Err(Error::Bug(_))));
    let missing = OpenBlock::file(Path::new("/nowhere/0123456789abcdef0123456789abcdef")).err().unwrap().to_string();
    assert!(missing.starts_with("opening a block failed at /nowhere/01234567…: No such file"), "{missing}");
}
