//! A text file with the word frequencies of natural language, made once and kept between runs.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use rayon::prelude::*;

use super::mix::Stream;

/// Distinct words.
const VOCABULARY: usize = 200_000;
/// The text is made in pieces, each from its own seed. So threads can share the work without changing the text.
const PIECE: u64 = 4 << 20;
const SEED: u64 = 0x7a69_7066;
/// The longest word.
const LONGEST: usize = 14;
/// Letters, with about their frequencies in English.
const LETTERS: &[u8] =
    b"eeeeeeeeeeeetttttttttaaaaaaaaooooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllcccuuummmwwwffggyyppbbvkjxqz";

/// The path of a text of at least `bytes` bytes and at most a piece more: lines of 8 to 14 words, Zipf's law with exponent 1.
pub fn zipf_file(bytes: u64) -> io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("tryworks-zipf-{bytes}-{SEED:x}.txt"));
    if path.exists() {
        return Ok(path);
    }
    eprintln!("making {} MB of text, kept in {}", bytes / 1_000_000, path.display());
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = File::create(&unfinished)?;
    let language = Language::new();
    let pieces = bytes.div_ceil(PIECE);
    for first in (0..pieces).step_by(64) {
        let texts: Vec<Vec<u8>> = (first..pieces.min(first + 64))
            .into_par_iter()
            .map(|piece| language.piece(piece, PIECE.min(bytes - piece * PIECE) as usize))
            .collect();
        texts.iter().try_for_each(|text| file.write_all(text))?;
    }
    drop(file);
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

/// Words and their frequencies.
struct Language {
    words: Vec<Vec<u8>>,
    /// Walker's alias table: below the threshold the word itself, else the other word.
    alias: Vec<(u32, u32)>,
}

impl Language {
    fn new() -> Self {
        let mut stream = Stream::new(SEED);
        let mut seen = HashSet::new();
        let words: Vec<Vec<u8>> = (0..VOCABULARY).map(|rank| new_word(rank, &mut stream, &mut seen)).collect();
        let weights: Vec<f64> = (0..VOCABULARY).map(|rank| 1.0 / (rank + 1) as f64).collect();
        Language { words, alias: alias_table(&weights) }
    }

    /// Lines until `bytes` is reached.
    fn piece(&self, piece: u64, bytes: usize) -> Vec<u8> {
        let mut stream = Stream::new(SEED ^ (piece + 1));
        let mut text = Vec::with_capacity(bytes + 256);
        while text.len() < bytes {
            for place in 0..8 + stream.below(7) {
                if place > 0 {
                    text.push(b' ');
                }
                let start = text.len();
                text.extend_from_slice(&self.words[self.draw(&mut stream)]);
                // One word in 12 begins with a capital, and one in 256 is all capitals.
                match stream.below(768) {
                    0..3 => text[start..].make_ascii_uppercase(),
                    3..67 => text[start..start + 1].make_ascii_uppercase(),
                    _ => {}
                }
            }
            text.push(b'\n');
        }
        text
    }

    fn draw(&self, stream: &mut Stream) -> usize {
        let random = stream.next();
        let place = (((random >> 32) * self.alias.len() as u64) >> 32) as usize;
        let (threshold, other) = self.alias[place];
        if (random as u32) < threshold { place } else { other as usize }
    }
}

/// A new word; the rarer, the longer.
fn new_word(rank: usize, stream: &mut Stream, seen: &mut HashSet<Vec<u8>>) -> Vec<u8> {
    loop {
        let spread = stream.below(5) as f64 - 2.0;
        let length = 2.0 + 0.65 * ((rank + 1) as f64).ln() + spread * 0.9;
        let length = (length.round().max(1.0) as usize).min(LONGEST);
        let word: Vec<u8> = (0..length).map(|_| LETTERS[stream.below(LETTERS.len() as u64) as usize]).collect();
        if seen.insert(word.clone()) {
            return word;
        }
    }
}

fn alias_table(weights: &[f64]) -> Vec<(u32, u32)> {
    let total: f64 = weights.iter().sum();
    let mut share: Vec<f64> = weights.iter().map(|weight| weight / total * weights.len() as f64).collect();
    let mut table: Vec<(u32, u32)> = (0..weights.len() as u32).map(|place| (u32::MAX, place)).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..share.len()).partition(|&place| share[place] < 1.0);
    while let Some(low) = small.pop() {
        let Some(&high) = large.last() else { break };
        table[low] = ((share[low] * f64::from(u32::MAX)) as u32, high as u32);
        share[high] -= 1.0 - share[low];
        if share[high] < 1.0 {
            large.pop();
            small.push(high);
        }
    }
    table
}
