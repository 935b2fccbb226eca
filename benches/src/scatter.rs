//! Scatters rows to radix partitions by hand, in parallel: the shuffle of the twins.

use rayon::prelude::*;

/// Rows made from an index, in vectors by the partition of their key.
pub struct Scattered<R> {
    /// One entry for each chunk of the input, in order; it has one vector for each partition.
    chunks: Vec<Vec<Vec<R>>>,
}

/// Makes rows `0..count` and scatters them to `1 << bits` partitions by the top bits of their hash.
pub fn scatter<R: Send>(
    count: u64,
    bits: u32,
    make: impl Fn(u64) -> R + Sync,
    hash: impl Fn(&R) -> u64 + Sync,
) -> Scattered<R> {
    // Several chunks for each thread, so that one slow chunk does not delay all.
    let chunks = rayon::current_num_threads() as u64 * 4;
    let expected = (count / chunks) >> bits;
    let chunk = |chunk: u64| {
        let mut partitions: Vec<Vec<R>> =
            (0..1 << bits).map(|_| Vec::with_capacity((expected + expected / 8 + 16) as usize)).collect();
        for index in count * chunk / chunks..count * (chunk + 1) / chunks {
            let row = make(index);
            partitions[(hash(&row) >> (64 - bits)) as usize].push(row);
        }
        partitions
    };
    Scattered { chunks: (0..chunks).into_par_iter().map(chunk).collect() }
}

impl<R> Scattered<R> {
    /// The rows of a partition, in the order of their indexes.
    pub fn partition(&self, partition: usize) -> impl Iterator<Item = &R> {
        self.chunks.iter().flat_map(move |chunk| &chunk[partition])
    }

    /// How many rows a partition has.
    pub fn rows(&self, partition: usize) -> usize {
        self.chunks.iter().map(|chunk| chunk[partition].len()).sum()
    }
}

/// The hash of a number: one multiplication, which is enough for the hand-written partitions and tables. The top bits
/// are good.
#[inline]
pub fn hash(key: u64) -> u64 {
    (key ^ (key >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
