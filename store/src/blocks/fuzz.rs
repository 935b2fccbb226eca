//! Bytes that strangers send as blocks: all are refused or read, and none takes much memory.
//!
//! `TRYWORKS_FUZZ_SECONDS` prolongs the search.

use super::id::BlockKey;
use super::open::OpenBlock;
use super::table::{FOOTER, Footer, Table};
use crate::index::put_number;
use foldhash::quality::FixedState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};
use tryworks_base::Error;
use tryworks_base::frames::Frames;
use tryworks_base::ids::{AttemptId, OutputId};

/// Numbers from a seed.
struct Random(FixedState, u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.1 += 1;
        (self.0.hash_one(self.1) % n.max(1) as u64) as usize
    }
}

/// A block with sequences of frames of these lengths, as a file has it, and the contents of its frames.
fn block(lens: &[&[usize]], head: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut table = Table::new(&BlockKey::random().unwrap().id(OutputId(1), 2, AttemptId(3)));
    let (mut bytes, mut bodies) = (Vec::new(), Vec::new());
    for frames in lens {
        table.begin_sequence();
        for len in *frames {
            let body: Vec<u8> = (0..*len).map(|i| (i * 7 + bodies.len()) as u8).collect();
            bytes.extend_from_slice(&body);
            bytes.extend(table.push(&body).unwrap().into_iter().flatten());
            bodies.push(body);
        }
    }
    table.encode(head, &mut bytes);
    (bytes, bodies)
}

/// The end of a block whose table says what no writer would, but with the right checksum.
fn tail(start: u64, table: &[u8]) -> Vec<u8> {
    let mut bytes = table.to_vec();
    bytes.extend_from_slice(&Footer::of(start, table).encode());
    bytes
}

/// A table with these numbers, after the salt and an empty head.
fn table(numbers: &[u64]) -> Vec<u8> {
    let mut bytes = vec![7; 8];
    put_number(0, &mut bytes);
    numbers.iter().for_each(|number| put_number(*number, &mut bytes));
    bytes
}

#[test]
fn tables_that_claim_too_much_are_refused() {
    let huge = 1 << 60;
    let good = tail(40, &table(&[2, 1, 2, 2 * 15, 0, 2 * 25]));
    assert_eq!(Table::parse(&good).ok().unwrap().range(1, 0..2), Some(15..40));
    for (start, numbers, why) in [
        (40, &[huge][..], "sequences"),
        (40, &[u64::MAX], "sequences"),
        (40, &[1, huge], "frames"),
        (40, &[2, huge, u64::MAX], "frames whose sum overflows"),
        (40, &[1, 2, 2 * huge, 80], "a frame longer than the block"),
        (
            i64::MAX as u64 - 100,
            &[1, 4, u64::MAX - 1, u64::MAX - 1, u64::MAX - 1, u64::MAX - 1],
            "lengths whose sum overflows",
        ),
        (40, &[1, 1, 2 * 39], "frames that end before the table"),
        (40, &[1, 1, 2 * 41], "frames that end inside the table"),
        (40, &[1, 2, 2 * 32, 2 * 8], "a frame that is only a checksum"),
        (40, &[1, 2, 2 * 37, 2 * 3], "a frame shorter than its checksum"),
        (40, &[1, 1, 2 * 40 + 1], "a compressed frame"),
        (40, &[1, 1, 2 * 40, 0], "more bytes than frames"),
        (0, &[], "nothing"),
    ] {
        let parsed = Table::parse(&tail(start, &table(numbers)));
        assert_eq!(parsed.err(), Some("its table of contents makes no sense"), "{why}");
    }
    let mut head = vec![7; 8];
    put_number(huge, &mut head);
    assert!(Table::parse(&tail(0, &head)).is_err());
    assert!(Table::parse(&tail(0, &[7; 3])).is_err(), "not even a salt");
    for start in [u64::MAX, u64::MAX - 40, i64::MAX as u64] {
        let refused = Table::parse(&tail(start, &table(&[0])));
        assert_eq!(refused.err(), Some("it claims to be longer than a file can be"));
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let (bytes, bodies) = block(&[&[100, 0, 9], &[], &[1, 700]], b"the head");
    let frames: usize = bodies.iter().map(|body| body.len() + 8 * usize::from(!body.is_empty())).sum();
    let mut scratch = Vec::new();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let opened = OpenBlock::memory("damaged", bytes.into());
        if bit / 8 >= frames {
            assert!(matches!(opened, Err(Error::Storage { .. })), "bit {bit} of the table or the footer");
            continue;
        }
        let block = opened.unwrap();
        let all = [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)];
        let wrong: Vec<Error> = all
            .iter()
            .filter_map(|(i, j)| block.sequence(*i).unwrap().view(*j, &mut scratch).map(<[u8]>::len).err())
            .collect();
        assert_eq!(wrong.len(), 1, "bit {bit}");
        assert!(matches!(&wrong[0], Error::Storage { message, .. } if message.contains("checksum")), "{}", wrong[0]);
    }
}

#[test]
fn a_block_that_is_cut_or_has_more_at_its_end_is_refused() {
    let (bytes, _) = block(&[&[100, 0, 9], &[30]], b"head");
    for len in 0..bytes.len() {
        assert!(matches!(OpenBlock::memory("cut", bytes[..len].to_vec().into()), Err(Error::Storage { .. })), "{len}");
        assert!(matches!(OpenBlock::memory("cut", bytes[len + 1..].to_vec().into()), Err(Error::Storage { .. })));
    }
    let more = [&bytes[..], b"x"].concat();
    assert!(OpenBlock::memory("longer", more.into()).is_err());
    let begins_later = [b"x", &bytes[..]].concat();
    assert!(OpenBlock::memory("longer", begins_later.into()).is_err());
}

/// Changes some bytes.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + random.below(9)).min(bytes.len()))),
            4 => drop(bytes.splice(at..at, vec![random.below(256) as u8; random.below(20)])),
            5 => {
                let mut number = Vec::new();
                put_number(1 << random.below(64), &mut number);
                let end = (at + number.len()).min(bytes.len());
                drop(bytes.splice(at..end, number));
            }
            _ => {
                let copied = bytes[at..(at + random.below(40)).min(bytes.len())].to_vec();
                let to = random.below(bytes.len());
                drop(bytes.splice(to..to, copied));
            }
        }
    }
}

#[test]
fn random_tables_are_refused_or_read() {
    let seconds = std::env::var("TRYWORKS_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let long: Vec<usize> = (0..300).map(|i| i % 5 * 40).collect();
    let blocks = [
        block(&[], b""),
        block(&[&[], &[0, 0], &[5]], b"head"),
        block(&[&[200, 0, 70], &[8000]], &[3; 200]),
        block(&[&long, &long], b""),
    ];
    let (mut refused, mut read) = (0u64, 0u64);
    // Enough seeds to find something, however slow the machine is.
    for seed in 0.. {
        if seed >= 500 && Instant::now() > end {
            break;
        }
        let mut random = Random(FixedState::with_seed(seed), 0);
        let (original, bodies) = &blocks[random.below(blocks.len())];
        let footer = Footer::at_end_of(original, original.len() as u64).unwrap();
        let mut bytes = original.clone();
        // Either changes anything, or changes the table and then makes a footer that fits it, as an attacker would.
        let deceive = random.below(3) > 0;
        if deceive {
            let frames = footer.start as usize;
            let mut table = original[frames..original.len() - FOOTER].to_vec();
            mutate(&mut table, &mut random);
            let start = if random.below(8) == 0 { random.below(1 << 62) as u64 } else { footer.start };
            bytes.truncate(frames);
            bytes.extend(tail(start, &table));
        } else {
            mutate(&mut bytes, &mut random);
        }
        let tail = &bytes[(footer.start as usize).min(bytes.len())..];
        if let Ok(table) = Table::parse(tail) {
            assert!(table.held() <= 1024 + 24 * tail.len() as u64, "seed {seed}");
            let mut again = Vec::new();
            table.encode(table.head(), &mut again);
            let same = Table::parse(&again).ok().unwrap_or_else(|| panic!("seed {seed}"));
            assert!(same.head() == table.head() && same.frames_end() == table.frames_end(), "seed {seed}");
            for i in 0..table.sequences() {
                let frames = 0..table.len_of(i).unwrap();
                assert_eq!(same.range(i, frames.clone()), table.range(i, frames), "seed {seed}");
            }
        }
        let Ok(block) = OpenBlock::memory("sent", bytes.clone().into()) else {
            refused += 1;
            continue;
        };
        read += 1;
        let mut scratch = Vec::new();
        for i in 0..block.sequences() {
            let sequence = block.sequence(i).unwrap();
            for j in 0..tryworks_base::frames::Frames::len(&sequence) {
                match sequence.view(j, &mut scratch) {
                    Ok(frame) => assert!(frame.is_empty() || bodies.iter().any(|body| body == frame), "seed {seed}"),
                    Err(error) => assert!(matches!(error, Error::Storage { .. }), "seed {seed}: {error}"),
                }
            }
        }
    }
    assert!(refused > 100 && read > 20, "{refused} refused, {read} read");
}
