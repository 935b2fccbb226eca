//! Text files of 100-byte records to be sorted, and a check of the sorted ones.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use super::mix::{Stream, mix2};
use crate::harness::{Answer, Outcome};

/// Bytes of a record, the newline included.
pub const RECORD: usize = 100;
/// Bytes of its key, at the front.
pub const KEY: usize = 10;
/// Files that the records are spread over.
const FILES: u64 = 8;

/// Creates files under `directory` with `records` lines of printable characters, unless they exist; returns their paths
/// in order.
pub fn make_files(directory: &Path, records: u64) -> io::Result<Vec<PathBuf>> {
    let paths: Vec<PathBuf> = (0..FILES).map(|file| directory.join(format!("records-{file}.txt"))).collect();
    if paths.iter().all(|path| path.exists()) {
        return Ok(paths);
    }
    fs::create_dir_all(directory)?;
    paths.par_iter().enumerate().try_for_each(|(file, path)| {
        let file = file as u64;
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        for index in records * file / FILES..records * (file + 1) / FILES {
            out.write_all(&record(index))?;
        }
        out.flush()
    })?;
    Ok(paths)
}

/// Record `index`: a random key, then a payload that begins with the index.
fn record(index: u64) -> [u8; RECORD] {
    let mut stream = Stream::new(index);
    let mut line = [b' '; RECORD];
    let mut random = 0;
    for (place, byte) in line[..RECORD - 1].iter_mut().enumerate() {
        // A number gives eight characters. 94 characters are printable and no space; 64 are enough for the payload.
        if place % 8 == 0 || place == KEY {
            random = stream.next();
        }
        let low = random & 0xff;
        *byte = if place < KEY { b'!' + (low * 94 / 256) as u8 } else { b'0' + (low % 64) as u8 };
        random >>= 8;
    }
    let digits = index.to_string();
    line[KEY..KEY + digits.len()].copy_from_slice(digits.as_bytes());
    line[KEY + digits.len()] = b' ';
    line[RECORD - 1] = b'\n';
    line
}

/// What a record adds to the checksum.
pub fn digest(line: &[u8]) -> u64 {
    let words = line.chunks(8).map(|chunk| chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)));
    words.fold(0, mix2)
}

/// Reads the files of `directory` in the order of their names: an error unless the lines are in the order of their
/// keys. The checksum does not depend on the order.
pub fn check_sorted(directory: &Path) -> Outcome<Answer> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with(['_', '.'])));
    paths.sort();
    let parts = paths.par_iter().map(|path| check_part(path).map_err(|error| error.to_string()));
    let parts: Vec<Part> = parts.collect::<Result<_, _>>()?;
    let mut answer = Answer { count: 0, checksum: 0 };
    let mut last: Option<[u8; KEY]> = None;
    for (part, path) in parts.iter().zip(&paths) {
        answer.count += part.count;
        answer.checksum = answer.checksum.wrapping_add(part.checksum);
        if let Some((low, high)) = part.keys {
            if last.is_some_and(|last| last > low) {
                return Err(format!("{} begins before the end of the file before it", path.display()).into());
            }
            last = Some(high);
        }
    }
    Ok(answer)
}

struct Part {
    count: u64,
    checksum: u64,
    keys: Option<([u8; KEY], [u8; KEY])>,
}

fn check_part(path: &Path) -> io::Result<Part> {
    let mut input = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut part = Part { count: 0, checksum: 0, keys: None };
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let wrong = |what: &str| io::Error::other(format!("{}: record {} {what}", path.display(), part.count));
        if line.len() != RECORD || line[RECORD - 1] != b'\n' {
            return Err(wrong("is not one line of 100 bytes"));
        }
        let key: [u8; KEY] = line[..KEY].try_into().map_err(|_| wrong("has no key"))?;
        let (low, high) = part.keys.unwrap_or((key, key));
        if key < high {
            return Err(wrong("is out of order"));
        }
        part.keys = Some((low, key));
        part.checksum = part.checksum.wrapping_add(digest(&line));
        part.count += 1;
        line.clear();
    }
    Ok(part)
}
