//! Compares records with plain chunks of the same bytes.

mod support;

use proptest::prelude::*;
use std::fs;
use std::io::Write;
use support::{all, rows_by, task};
use tryworks_base::{Error, Result};
use tryworks_core::Record;
use tryworks_core::source::Source;
use tryworks_io::files::Paths;
use tryworks_io::records::{RecordFiles, records};

fn file(contents: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(contents).unwrap();
    file
}

fn read<const N: usize>(paths: impl Into<Paths>) -> Result<Vec<Record<N>>> {
    Ok(all(&RecordFiles::of(&records::<N>(paths))?)?.concat())
}

fn chunks<const N: usize>(bytes: &[u8]) -> Vec<Record<N>> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| Record(*bytes)).collect()
}

fn every_split<const N: usize>(bytes: &[u8], budget: usize) {
    let bytes = &bytes[..bytes.len() / N * N];
    let (file, task) = (file(bytes), task());
    for split in 1..=bytes.len() as u64 + 1 {
        let source = RecordFiles::of(&records::<N>(file.path()).split_bytes(split)).unwrap();
        let whole = split.div_ceil(N as u64) * N as u64;
        assert_eq!(u64::from(source.partitions()), (bytes.len() as u64).div_ceil(whole).max(1));
        let rows = (0..source.partitions()).flat_map(|n| rows_by(&source, n, budget, &task).unwrap());
        assert_eq!(rows.collect::<Vec<_>>(), chunks::<N>(bytes), "splits of {split}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_split_size_gives_the_records_of_the_file(
        bytes in prop::collection::vec(any::<u8>(), 0..150),
        budget in 1usize..5,
    ) {
        every_split::<1>(&bytes, budget);
        every_split::<7>(&bytes, budget);
        every_split::<40>(&bytes, budget);
    }
}

#[test]
fn records_longer_than_a_buffer_and_files_of_many_buffers_are_read_whole() {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let whole = file(&bytes);
    assert!(read::<1000>(whole.path()).unwrap() == chunks::<1000>(&bytes));
    assert!(read::<24>(whole.path()).unwrap() == chunks::<24>(&bytes));
    // The threads of tasks have stacks of this size, and records of this size need it.
    let large = std::thread::Builder::new().stack_size(64 << 20);
    let large = large.spawn(move || assert!(read::<300_000>(whole.path()).unwrap() == chunks::<300_000>(&bytes)));
    large.unwrap().join().unwrap();
}

#[test]
fn a_file_that_ends_within_a_record_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), [1; 30]).unwrap();
    fs::write(dir.path().join("b"), [1; 25]).unwrap();
    let error = read::<10>(dir.path()).unwrap_err();
    let name = dir.path().join("b").display().to_string();
    assert!(matches!(&error, Error::Input { path, offset: Some(20), .. } if *path == name), "{error:?}");
    assert!(error.to_string().contains("2 records of 10 bytes and 5 bytes more"), "{error}");
    assert_eq!(read::<5>(dir.path()).unwrap().len(), 11);
    assert!(RecordFiles::of(&records::<5>(dir.path()).split_bytes(0)).unwrap_err().to_string().contains("partitions"));
}

#[test]
fn bytes_that_look_compressed_are_records_as_well() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&[b'x'; 1000]).unwrap();
    let packed = gzip.finish().unwrap();
    assert!(read::<1>(file(&packed).path()).unwrap() == chunks::<1>(&packed));
}

#[test]
fn a_file_that_changes_after_it_was_listed_is_an_error() {
    let file = file(&[7; 100]);
    let source = RecordFiles::of(&records::<10>(file.path())).unwrap();
    file.as_file().set_len(90).unwrap();
    let error = all(&source).unwrap_err().to_string();
    assert!(error.contains("the file has changed"), "{error}");
}
