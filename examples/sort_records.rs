//! Sorts records of 100 bytes by their first 10, as sort benchmarks do, from files to files.
//!
//!     cargo run --release --example sort_records [RECORDS]
//!
//! The program makes the input first, with a checksum over all records. Then it sorts the records, and reads the output
//! with plain code. Keys must not descend, and the checksum must be the same.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use tryworks::prelude::*;

const RECORD: usize = 100;
const KEY: usize = 10;

/// Record `number`: a random key, then the number and filling.
fn record(number: u64) -> [u8; RECORD] {
    let mut state = number;
    std::array::from_fn(|at| match at {
        0..KEY => {
            state = (state ^ state >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(at as u64);
            (state >> 40) as u8
        }
        KEY..18 => (number >> (8 * (at - KEY))) as u8,
        _ => b'A' + (number % 26) as u8,
    })
}

/// What a record adds to the checksum, whatever its position.
fn digest(record: &[u8]) -> u64 {
    record.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn main() -> Result<()> {
    let cx = Context::init()?;
    let count: u64 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(50_000);
    let scratch = tempfile::tempdir()?;
    let (input, output) = (scratch.path().join("in"), scratch.path().join("out"));

    let mut expected = 0u64;
    fs::create_dir(&input)?;
    for file in 0..4 {
        let mut out = BufWriter::new(File::create(input.join(format!("records-{file}")))?);
        for number in count * file / 4..count * (file + 1) / 4 {
            let record = record(number);
            expected = expected.wrapping_add(digest(&record));
            out.write_all(&record)?;
        }
        out.flush()?;
    }

    cx.records::<RECORD>(&input).sort_by(|record| record.prefix::<KEY>()).save(records(&output))?;

    let mut parts: Vec<_> = fs::read_dir(&output)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    parts.retain(|path| path.file_name().is_some_and(|name| name != "_SUCCESS"));
    parts.sort();
    let (mut found, mut sum, mut last) = (0u64, 0u64, [0; KEY]);
    for part in parts {
        let bytes = fs::read(part)?;
        let (records, rest) = bytes.as_chunks::<RECORD>();
        assert!(rest.is_empty(), "parts have whole records");
        for record in records {
            assert!(last[..] <= record[..KEY], "record {found} is before the one that it should follow");
            last.copy_from_slice(&record[..KEY]);
            sum = sum.wrapping_add(digest(record));
            found += 1;
        }
    }
    assert_eq!((found, sum), (count, expected), "every record comes out once");
    println!("{found} records in the order of their keys, checksum {sum:016x}");
    Ok(())
}
