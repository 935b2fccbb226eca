//! The words that one thread has seen. Words of up to 16 bytes are two numbers in an open-addressed table. Its slots are
//! prefetched for a batch of words, so that cache misses overlap.

use std::collections::HashMap;

/// The parts by which tables are merged.
pub const PARTITIONS: u64 = 64;
/// How many words are looked up at a time.
const BATCH: usize = 32;

/// A short word, and how often it was there; no word if that is zero. Two slots share a cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Slot {
    word: (u64, u64),
    count: u64,
}

pub struct Words {
    /// A power of two of them.
    slots: Vec<Slot>,
    /// How far a hash is shifted to become a position.
    shift: u32,
    filled: usize,
    batch: [((u64, u64), u64); BATCH],
    waiting: usize,
    /// Words that no slot can hold.
    long: HashMap<Box<[u8]>, u64>,
}

impl Default for Words {
    fn default() -> Self {
        let bits = 16;
        Words {
            slots: vec![Slot::default(); 1 << bits],
            shift: 64 - bits,
            filled: 0,
            batch: [((0, 0), 0); BATCH],
            waiting: 0,
            long: HashMap::new(),
        }
    }
}

#[inline(always)]
fn hash((first, second): (u64, u64)) -> u64 {
    let wide = u128::from(first ^ 0x9e37_79b9_7f4a_7c15) * u128::from(second ^ 0xd1b5_4a32_d192_ed03);
    (wide as u64 ^ (wide >> 64) as u64).wrapping_mul(0x9fb2_1c65_1e98_df25)
}

impl Words {
    #[inline(always)]
    pub fn add(&mut self, first: u64, second: u64) {
        let word = (first, second);
        let hash = hash(word);
        prefetch(&self.slots, (hash >> self.shift) as usize);
        self.batch[self.waiting] = (word, hash);
        self.waiting += 1;
        if self.waiting == BATCH {
            self.flush();
        }
    }

    /// Counts the words of the batch.
    #[inline(always)]
    pub fn flush(&mut self) {
        for at in 0..std::mem::take(&mut self.waiting) {
            let (word, hash) = self.batch[at];
            self.count(word, hash, 1);
        }
        if self.filled * 2 > self.slots.len() {
            self.grow();
        }
    }

    #[inline(always)]
    fn count(&mut self, word: (u64, u64), hash: u64, count: u64) {
        let mask = self.slots.len() - 1;
        let mut at = (hash >> self.shift) as usize;
        loop {
            let slot = &mut self.slots[at & mask];
            if slot.count == 0 {
                *slot = Slot { word, count };
                self.filled += 1;
                return;
            }
            if slot.word == word {
                slot.count += count;
                return;
            }
            at += 1;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![Slot::default(); self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, larger);
        self.shift -= 1;
        self.filled = 0;
        for slot in old.into_iter().filter(|slot| slot.count > 0) {
            self.count(slot.word, hash(slot.word), slot.count);
        }
    }

    #[cold]
    pub fn add_slowly(&mut self, word: &[u8]) {
        let word = word.to_ascii_lowercase();
        if word.len() <= 16 && word.last().is_some_and(|last| *last != 0) {
            let mut bytes = [0; 16];
            bytes[..word.len()].copy_from_slice(&word);
            let both = u128::from_le_bytes(bytes);
            return self.add(both as u64, (both >> 64) as u64);
        }
        *self.long.entry(word.into()).or_default() += 1;
    }
}

/// Asks for a slot before it is needed.
#[inline(always)]
fn prefetch(slots: &[Slot], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program can see, at any address.
    #[allow(unsafe_code)]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(slots.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slots, at);
}

/// Adds up one part of all tables, and returns its most frequent words.
pub fn merge(tables: &[Words], partition: u64) -> Vec<(String, u64)> {
    // The highest bits of a hash are its position in a table, so a part is a range of slots.
    let here = |hash: u64| hash / (u64::MAX / PARTITIONS + 1) == partition;
    let mut sum = Words::default();
    let mut long: HashMap<&[u8], u64> = HashMap::new();
    for table in tables {
        let each = table.slots.len() / PARTITIONS as usize;
        let first = partition as usize * each;
        // Words may have gone on behind the end of their range, up to the first free slot.
        let behind = table.slots.iter().cycle().skip(first).take(table.slots.len()).enumerate();
        for slot in behind.take_while(|(at, slot)| *at < each || slot.count > 0).map(|(_, slot)| slot) {
            if slot.count > 0 && here(hash(slot.word)) {
                sum.count(slot.word, hash(slot.word), slot.count);
                if sum.filled * 2 > sum.slots.len() {
                    sum.grow();
                }
            }
        }
        for (word, count) in &table.long {
            if word.iter().map(|byte| u64::from(*byte)).sum::<u64>() % PARTITIONS == partition {
                *long.entry(word).or_default() += count;
            }
        }
    }
    let mut best: Vec<(String, u64)> = sum.slots.iter().filter(|slot| slot.count > 0).map(text).collect();
    best.extend(long.iter().map(|(word, count)| (String::from_utf8_lossy(word).into_owned(), *count)));
    keep_most_frequent(&mut best, super::MOST_FREQUENT);
    best
}

fn text(slot: &Slot) -> (String, u64) {
    let bytes = (u128::from(slot.word.1) << 64 | u128::from(slot.word.0)).to_le_bytes();
    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    // All bytes of a slot come from one word, and lower-casing ASCII keeps UTF-8 valid.
    (String::from_utf8_lossy(&bytes[..len]).into_owned(), slot.count)
}

pub fn keep_most_frequent(words: &mut Vec<(String, u64)>, most: usize) {
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.truncate(most);
}
