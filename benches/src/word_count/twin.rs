//! The word count by hand: threads, a mapped file, and a hash table for each thread. It has a file of its own because
//! the compiler shares generic functions within one file. Both sides split lines into words, and then each word cost a
//! call, as in no program that splits lines in only one place.

use std::{
    fs::File,
    hash::BuildHasher,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use memmap2::Mmap;
use rayon::prelude::*;

use super::{MOST_FREQUENT, answer};
use crate::harness::{Answer, Outcome};

/// Bytes a thread takes at a time.
const CHUNK: usize = 2 << 20;
/// The hash partitions by which the tables are merged, as bits.
const PARTITION_BITS: u32 = 6;

/// The same work by hand. Lines are text, so they are checked to be UTF-8, and words are separated by white space
/// according to Unicode.
pub fn twin(path: &Path) -> Outcome<Answer> {
    let file = File::open(path)?;
    // SAFETY: the file is a finished one in this benchmark's own cache. No process writes to it or truncates it once it
    // has its name.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file)? };

    let next = AtomicUsize::new(0);
    let count = |_: rayon::BroadcastContext<'_>| -> Result<Words, std::str::Utf8Error> {
        let mut words = Words::default();
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk * CHUNK >= map.len() {
                words.flush();
                return Ok(words);
            }
            let begin = line_start(&map, chunk * CHUNK);
            let end = line_start(&map, map.len().min((chunk + 1) * CHUNK));
            for line in std::str::from_utf8(&map[begin..end])?.lines() {
                line.split_whitespace().for_each(|word| words.add(word));
            }
        }
    };
    let tables: Vec<Words> = rayon::broadcast(count).into_iter().collect::<Result<_, _>>()?;

    let partitions = (0..1u64 << PARTITION_BITS).into_par_iter();
    let mut best: Vec<(String, u64)> = partitions.flat_map_iter(|partition| merge(&tables, partition)).collect();
    keep_most_frequent(&mut best);
    Ok(answer(best.iter().map(|(word, count)| (word.as_str(), *count))))
}

/// Where the first line begins at or after `offset`.
fn line_start(text: &[u8], offset: usize) -> usize {
    match offset {
        0 => 0,
        _ => text[offset - 1..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |place| offset + place),
    }
}

/// The longest word that is stored in the table itself.
const SHORT: usize = 15;
/// How many words are looked up at a time. Finding words mispredicts many branches, and looking them up misses the
/// caches. Doing each step for many words lets the misses overlap.
const BATCH: usize = 512;

/// A word of up to 15 bytes, its length in the last.
type ShortWord = [u8; SHORT + 1];

/// The words that one thread has seen, in lower case.
#[derive(Default)]
struct Words {
    short: HashTable<(ShortWord, u64)>,
    /// The longer words, with their hashes.
    long: HashTable<(u64, Box<str>, u64)>,
    /// Short words not counted yet.
    batch: Vec<ShortWord>,
}

/// The hash of a short word.
#[inline]
fn hash_short(word: &ShortWord) -> u64 {
    FixedState::default().hash_one(u128::from_le_bytes(*word))
}

impl Words {
    #[inline]
    fn add(&mut self, word: &str) {
        let mut short = [0; SHORT + 1];
        match short[..SHORT].get_mut(..word.len()) {
            Some(bytes) => bytes.copy_from_slice(word.as_bytes()),
            None => return self.add_long(word),
        }
        short.make_ascii_lowercase();
        short[SHORT] = word.len() as u8;
        self.batch.push(short);
        if self.batch.len() == BATCH {
            self.flush();
        }
    }

    /// Counts the words of the batch.
    fn flush(&mut self) {
        for word in self.batch.drain(..) {
            let found =
                self.short.entry(hash_short(&word), |(other, _)| *other == word, |(other, _)| hash_short(other));
            found.or_insert((word, 0)).get_mut().1 += 1;
        }
    }

    #[cold]
    fn add_long(&mut self, word: &str) {
        let word = word.to_ascii_lowercase();
        let hash = FixedState::default().hash_one(&word);
        add_long(&mut self.long, hash, &word, 1);
    }
}

fn add_long(table: &mut HashTable<(u64, Box<str>, u64)>, hash: u64, word: &str, count: u64) {
    let found = table.entry(hash, |(other, key, _)| *other == hash && **key == *word, |(hash, ..)| *hash);
    found.or_insert_with(|| (hash, word.into(), 0)).get_mut().2 += count;
}

/// Adds up one hash partition of all tables, and returns its most frequent words.
fn merge(tables: &[Words], partition: u64) -> Vec<(String, u64)> {
    // A table uses the top bits as tags and the lowest bits for the slot: the partition uses bits in between.
    let here = |hash: u64| (hash >> 40) % (1 << PARTITION_BITS) == partition;
    let mut sum = Words::default();
    for words in tables {
        for (word, count) in words.short.iter().filter(|(word, _)| here(hash_short(word))) {
            let found = sum.short.entry(hash_short(word), |(other, _)| other == word, |(other, _)| hash_short(other));
            found.or_insert((*word, 0)).get_mut().1 += count;
        }
        for (hash, word, count) in words.long.iter().filter(|(hash, ..)| here(*hash)) {
            add_long(&mut sum.long, *hash, word, *count);
        }
    }
    // All bytes of a short word come from one word, and lower-casing ASCII keeps UTF-8 valid.
    let text = |word: &ShortWord| String::from_utf8_lossy(&word[..usize::from(word[SHORT])]).into_owned();
    let mut best: Vec<(String, u64)> = sum.short.iter().map(|(word, count)| (text(word), *count)).collect();
    best.extend(sum.long.into_iter().map(|(_, word, count)| (word.into_string(), count)));
    keep_most_frequent(&mut best);
    best
}

fn keep_most_frequent(words: &mut Vec<(String, u64)>) {
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.truncate(MOST_FREQUENT);
}
