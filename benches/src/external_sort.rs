//! The twin of the two sorts of files: an external sort in two passes by hand, of lines or of records of one length.

use std::{
    fs::{self, File},
    io::{self, Write},
    marker::PhantomData,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use crate::{
    data::records::{KEY, RECORD},
    harness::{Answer, Outcome},
};

/// Bytes of input in a sorted run: each thread holds one at a time, with the entries that sort it.
pub const RUN: u64 = 64 << 20;
/// Items between the entries of a run's index.
const SPARSE: usize = 512;
/// Bytes read from a run at a time while merging.
const READ: usize = 256 << 10;
/// Bytes written at a time.
const WRITE: usize = 1 << 20;

/// How a file consists of items, which are lines or records.
pub trait Framing {
    /// The whole items that begin in `start..end` of a file.
    fn read(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>>;
    /// The length of the item at the front, if all of it is there.
    fn first(bytes: &[u8]) -> Option<usize>;
}

/// Lines of text in UTF-8.
pub struct Lines;

impl Framing for Lines {
    fn read(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let from = start.saturating_sub(1);
        let mut text = vec![0; (end - from) as usize];
        file.read_exact_at(&mut text, from)?;
        while text.last().is_some_and(|&last| last != b'\n') {
            let mut more = [0; 4096];
            let read = file.read_at(&mut more, from + text.len() as u64)?;
            if read == 0 {
                text.push(b'\n');
            }
            let read = &more[..read];
            text.extend_from_slice(&read[..Self::first(read).unwrap_or(read.len())]);
        }
        if start > 0 {
            text.drain(..Self::first(&text).unwrap_or(text.len()));
        }
        std::str::from_utf8(&text).map_err(io::Error::other)?;
        Ok(text)
    }

    #[inline]
    fn first(text: &[u8]) -> Option<usize> {
        memchr::memchr(b'\n', text).map(|newline| newline + 1)
    }
}

/// Records of [`RECORD`] bytes.
pub struct Records;

impl Framing for Records {
    fn read(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let [from, to] = [start, end].map(|at| at.next_multiple_of(RECORD as u64));
        let mut bytes = vec![0; (to - from) as usize];
        file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }

    #[inline]
    fn first(bytes: &[u8]) -> Option<usize> {
        (bytes.len() >= RECORD).then_some(RECORD)
    }
}

/// The answer is read from the files afterwards.
pub fn twin<F: Framing>(inputs: &[PathBuf], runs: &Path, output: &Path, run: u64) -> Outcome<Answer> {
    fs::create_dir_all(runs)?;
    fs::create_dir_all(output)?;
    let mut splits = Vec::new();
    for path in inputs {
        let length = fs::metadata(path)?.len();
        splits.extend((0..length).step_by(run as usize).map(|start| (path, start, length.min(start + run))));
    }
    let sorted = splits
        .into_par_iter()
        .enumerate()
        .map(|(place, (path, start, end))| write_run::<F>(path, start, end, &runs.join(format!("run-{place}"))));
    let sorted = sorted.collect::<io::Result<Vec<RunFile>>>()?;

    let parts = rayon::current_num_threads() * 4;
    let bounds = splitters(&sorted, parts);
    (0..=bounds.len()).into_par_iter().try_for_each(|part| {
        let low = part.checked_sub(1).map_or(0, |before| bounds[before]);
        let high = bounds.get(part).copied().unwrap_or(u128::MAX);
        merge::<F>(&sorted, low, high, &output.join(format!("part-{part:05}")))
    })?;
    fs::remove_dir_all(runs)?;
    Ok(Answer { count: 0, checksum: 0 })
}

/// Items in the order of their keys, in a file.
struct RunFile {
    file: File,
    length: u64,
    /// The key and the place of every [`SPARSE`]th item.
    index: Vec<(u128, u64)>,
}

/// The key of a line in the upper 80 bits.
#[inline]
fn packed_key(line: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    match line.first_chunk::<KEY>() {
        Some(key) => bytes[..KEY].copy_from_slice(key),
        None => bytes[..line.len()].copy_from_slice(line),
    }
    u128::from_be_bytes(bytes)
}

/// The first pass: sorts the items that begin in a split of an input file.
fn write_run<F: Framing>(input: &Path, start: u64, end: u64, path: &Path) -> io::Result<RunFile> {
    let text = F::read(&File::open(input)?, start, end)?;
    // An entry is the key and, below it, the place and the length of the item: equal keys stay in the order of the
    // input.
    let mut entries: Vec<u128> = Vec::with_capacity(text.len() / RECORD + 1);
    let mut rest = &text[..];
    while let Some(end) = F::first(rest) {
        let (line, after) = rest.split_at(end);
        let place = text.len() - rest.len();
        let length = u16::try_from(line.len()).map_err(|_| io::Error::other("a line is too long"))?;
        entries.push(packed_key(line) | (place as u128) << 16 | u128::from(length));
        rest = after;
    }
    entries.sort_unstable();

    let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
    let mut run = Vec::with_capacity(WRITE + RECORD);
    let (mut length, mut index) = (0, Vec::with_capacity(entries.len() / SPARSE + 1));
    for (place, &entry) in entries.iter().enumerate() {
        if place % SPARSE == 0 {
            index.push((entry >> 48 << 48, length));
        }
        let line = &text[(entry >> 16) as u32 as usize..][..entry as u16 as usize];
        run.extend_from_slice(line);
        length += line.len() as u64;
        if run.len() >= WRITE {
            file.write_all(&run)?;
            run.clear();
        }
    }
    file.write_all(&run)?;
    Ok(RunFile { file, length, index })
}

/// Keys that divide all records into `parts` parts, as evenly as the indexes show.
fn splitters(runs: &[RunFile], parts: usize) -> Vec<u128> {
    let mut keys: Vec<u128> = runs.iter().flat_map(|run| run.index.iter().map(|(key, _)| *key)).collect();
    keys.sort_unstable();
    let mut bounds: Vec<u128> = (1..parts).filter_map(|part| keys.get(keys.len() * part / parts).copied()).collect();
    bounds.dedup();
    bounds
}

/// The second pass: merges the items in `low..high` of all runs into one file.
fn merge<F: Framing>(runs: &[RunFile], low: u128, high: u128, path: &Path) -> io::Result<()> {
    let mut cursors = runs.iter().map(|run| Cursor::<F>::new(run, low)).collect::<io::Result<Vec<_>>>()?;
    let mut tree = LoserTree::new(cursors.iter().map(|cursor| cursor.key).collect());
    let mut out = Vec::with_capacity(WRITE + RECORD);
    let mut file = File::create(path)?;
    while let Some(winner) = tree.winner(high) {
        let cursor = &mut cursors[winner];
        out.extend_from_slice(cursor.line());
        if out.len() >= WRITE {
            file.write_all(&out)?;
            out.clear();
        }
        cursor.advance()?;
        tree.replace(winner, cursor.key);
    }
    file.write_all(&out)
}

/// A position in a run.
struct Cursor<'a, F> {
    framing: PhantomData<F>,
    run: &'a RunFile,
    /// The next byte of the file to read.
    offset: u64,
    buffer: Vec<u8>,
    /// The current item in the buffer.
    begin: usize,
    end: usize,
    /// Its key; greater than every key at the end.
    key: u128,
}

impl<'a, F: Framing> Cursor<'a, F> {
    /// Starts at the first item whose key is not below `low`.
    fn new(run: &'a RunFile, low: u128) -> io::Result<Self> {
        let before = run.index.partition_point(|(key, _)| *key < low).saturating_sub(1);
        let offset = run.index.get(before).map_or(run.length, |(_, offset)| *offset);
        let mut cursor = Cursor { framing: PhantomData, run, offset, buffer: Vec::new(), begin: 0, end: 0, key: 0 };
        cursor.advance()?;
        while cursor.key < low {
            cursor.advance()?;
        }
        Ok(cursor)
    }

    #[inline]
    fn line(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    #[inline]
    fn advance(&mut self) -> io::Result<()> {
        self.begin = self.end;
        loop {
            if let Some(length) = F::first(&self.buffer[self.begin..]) {
                self.end = self.begin + length;
                self.key = packed_key(self.line());
                return Ok(());
            }
            if self.offset == self.run.length {
                self.key = u128::MAX;
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Moves the incomplete item at the end of the buffer to its beginning, and reads on.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.begin);
        (self.begin, self.end) = (0, 0);
        let kept = self.buffer.len();
        let more = (self.run.length - self.offset).min(READ as u64) as usize;
        self.buffer.resize(kept + more, 0);
        self.run.file.read_exact_at(&mut self.buffer[kept..], self.offset)?;
        self.offset += more as u64;
        Ok(())
    }
}

/// Finds the smallest of several keys (the first of equal ones), in as many comparisons as the tree is high.
struct LoserTree {
    keys: Vec<u128>,
    /// The loser of each match; the overall winner comes first.
    nodes: Vec<usize>,
}

impl LoserTree {
    fn new(mut keys: Vec<u128>) -> Self {
        let leaves = keys.len().next_power_of_two();
        keys.resize(leaves, u128::MAX);
        let mut winners: Vec<usize> = (0..leaves * 2).map(|node| node.wrapping_sub(leaves)).collect();
        let mut nodes = vec![0; leaves];
        for node in (1..leaves).rev() {
            let (left, right) = (winners[node * 2], winners[node * 2 + 1]);
            let left_wins = (keys[left], left) < (keys[right], right);
            (winners[node], nodes[node]) = if left_wins { (left, right) } else { (right, left) };
        }
        nodes[0] = if leaves > 1 { winners[1] } else { 0 };
        LoserTree { keys, nodes }
    }

    /// The cursor with the smallest key, if that is below `high`.
    #[inline]
    fn winner(&self, high: u128) -> Option<usize> {
        let winner = self.nodes[0];
        (self.keys[winner] < high).then_some(winner)
    }

    /// Gives the winner its next key.
    #[inline]
    fn replace(&mut self, winner: usize, key: u128) {
        self.keys[winner] = key;
        let (mut best, mut node) = (winner, (winner + self.keys.len()) / 2);
        while node > 0 {
            let other = self.nodes[node];
            if (self.keys[other], other) < (self.keys[best], best) {
                self.nodes[node] = best;
                best = other;
            }
            node /= 2;
        }
        self.nodes[0] = best;
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        data::records::{check_sorted, digest, make_files},
        scratch::Scratch,
    };

    use super::*;

    #[test]
    fn sorts_every_record_once() {
        let scratch = Scratch::new().unwrap();
        let [records, runs, output] = ["records", "runs", "sorted"].map(|name| scratch.path().join(name));
        let inputs = make_files(&records, 20_001).unwrap();
        let text: Vec<u8> = inputs.iter().flat_map(|path| fs::read(path).unwrap()).collect();
        let checksum = text.chunks(RECORD).map(digest).fold(0, u64::wrapping_add);
        // Runs that end inside items, between items, and after one file each.
        for run in [12_345, 10_000, RUN] {
            for twin in [twin::<Lines>, twin::<Records>] {
                twin(&inputs, &runs, &output, run).unwrap();
                assert_eq!(check_sorted(&output).unwrap(), Answer { count: 20_001, checksum });
                fs::remove_dir_all(&output).unwrap();
            }
        }
    }
}
