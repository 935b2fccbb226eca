//! The word count by hand: threads, a mapped file, and a hash table for each thread. It has a file of its own because
//! the compiler shares generic functions within one file. Both sides split lines into words, and then each word cost a
//! call, as in no program that splits lines in only one place.

mod cut;
mod words;

use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use memmap2::Mmap;
use rayon::prelude::*;
use words::Words;

use super::{MOST_FREQUENT, answer};
use crate::harness::{Answer, Outcome};

/// Bytes a thread takes at a time.
const CHUNK: usize = 2 << 20;

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
            cut::words_of(std::str::from_utf8(&map[begin..end])?, &map[begin..], &mut words);
        }
    };
    let tables: Vec<Words> = rayon::broadcast(count).into_iter().collect::<Result<_, _>>()?;

    let partitions = (0..words::PARTITIONS).into_par_iter();
    let mut best: Vec<(String, u64)> = partitions.flat_map_iter(|partition| words::merge(&tables, partition)).collect();
    words::keep_most_frequent(&mut best, MOST_FREQUENT);
    Ok(answer(best.iter().map(|(word, count)| (word.as_str(), *count))))
}

/// Where the first line begins at or after `offset`.
fn line_start(text: &[u8], offset: usize) -> usize {
    match offset {
        0 => 0,
        _ => text[offset - 1..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |place| offset + place),
    }
}
