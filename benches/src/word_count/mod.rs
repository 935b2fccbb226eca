//! Benchmark: the words of a large text counted in lower case and the five most frequent, against threads, a mapped file
//! and hash tables by hand.

use std::{
    cmp::Reverse,
    fs::File,
    hash::BuildHasher,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use memmap2::Mmap;
use rayon::prelude::*;
use tryworks::prelude::*;

use crate::{
    data::{mix::mix2, text::zipf_file},
    harness::{Answer, Bench, Outcome, Pair, Settings},
};

/// Bytes of text.
const BYTES: u64 = 500_000_000;
/// Words asked for.
pub const MOST_FREQUENT: usize = 5;
/// Bytes a thread takes at a time.
const CHUNK: usize = 2 << 20;
/// Hash partitions that the tables are merged by, as bits.
const PARTITION_BITS: u32 = 6;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let path = text_file(settings)?;
    let (cx, text) = (settings.context()?, path.clone());
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || count(&cx, &text))),
        twin: Box::new(move || twin(&path)),
        after: None,
        goal: Some(0.8),
    }))
}

/// The text that is counted.
pub fn text_file(settings: &Settings) -> Outcome<PathBuf> {
    Ok(zipf_file(settings.scaled(BYTES))?)
}

/// The answer from the most frequent words, the most frequent first; equal counts in the order of the words.
pub fn answer<'a>(most_frequent: impl IntoIterator<Item = (&'a str, u64)>) -> Answer {
    let mut answer = Answer { count: 0, checksum: 0 };
    for (word, count) in most_frequent {
        answer.count += count;
        let word = word.bytes().fold(0, |hash, byte| mix2(hash, u64::from(byte)));
        answer.checksum = mix2(answer.checksum, mix2(word, count));
    }
    answer
}

/// Our side, on any context.
pub fn count(cx: &Context, path: &Path) -> Outcome<Answer> {
    let words = cx
        .text_file(path)
        .flat_map_into(|line, out| line.split_whitespace().for_each(|word| out.push(Str::lower(word))));
    let counts = words.map(|word| (word, 1u64)).reduce_by_key(|a, b| a + b);
    let best = counts.take_ordered_by(MOST_FREQUENT, |(word, count)| (Reverse(*count), word.clone()))?;
    Ok(answer(best.iter().map(|(word, count)| (word.as_str(), *count))))
}

/// The same by hand. Lines are text, so they are checked to be UTF-8, and words are what lies between white space by Unicode.
pub fn twin(path: &Path) -> Outcome<Answer> {
    let file = File::open(path)?;
    // SAFETY: the file is a finished one of our own cache, which nothing writes to or truncates once it has its name.
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

/// Where the first line at or after `offset` begins.
fn line_start(text: &[u8], offset: usize) -> usize {
    match offset {
        0 => 0,
        _ => text[offset - 1..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |place| offset + place),
    }
}

/// The longest word that is kept in the table itself.
const SHORT: usize = 15;
/// Words that are looked up at a time. Finding words mispredicts many branches and looking them up misses the caches: one after
/// the other for many words, the misses overlap.
const BATCH: usize = 512;

/// A word of up to 15 bytes, its length in the last.
type ShortWord = [u8; SHORT + 1];

/// The words that one thread has seen, in lower case.
#[derive(Default)]
struct Words {
    short: HashTable<(ShortWord, u64)>,
    /// The others, their hashes kept.
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

/// Adds up one hash partition of all tables and gives its most frequent words.
fn merge(tables: &[Words], partition: u64) -> Vec<(String, u64)> {
    // A table uses the top bits as tags and the lowest for the place: the partition is taken from between.
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
    // All bytes of a short word come from one word, and lower-casing ASCII leaves UTF-8 what it is.
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    /// The program that the twin is a twin of.
    fn plain(text: &str) -> Answer {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for word in text.lines().flat_map(str::split_whitespace) {
            *counts.entry(word.to_ascii_lowercase()).or_default() += 1;
        }
        let mut counts: Vec<(&str, u64)> = counts.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.truncate(MOST_FREQUENT);
        answer(counts)
    }

    #[test]
    fn counts_as_the_plain_program_does() {
        let long = "Antidisestablishmentarianism";
        let odd = format!(
            "one\u{2003}Two\ttwo {long} \r\n\n\u{c9}t\u{e9} THREE three three {long} fifteen-letters sixteen-letters1"
        );
        let scratch = std::env::temp_dir().join(format!("tryworks-bench-test-{}", std::process::id()));
        for text in [odd.clone(), odd.repeat(200_000), String::new()] {
            fs::write(&scratch, &text).unwrap();
            assert_eq!(twin(&scratch).unwrap(), plain(&text));
        }
        let zipf = zipf_file(9_000_000).unwrap();
        assert_eq!(twin(&zipf).unwrap(), plain(&fs::read_to_string(&zipf).unwrap()));
        fs::remove_file(&scratch).unwrap();
        fs::remove_file(&zipf).unwrap();
    }
}
