//! The text source against plain reading with `std`.

mod support;

use proptest::prelude::*;
use std::fs;
use std::io::{BufRead, Write};
use std::path::Path;
use support::{all, rows_by, task, task_with};
use tryworks_core::pipe::{Cursor, STOP};
use tryworks_core::source::Source;
use tryworks_core::{Error, Result};
use tryworks_io::text::{TextFiles, TextOptions, TextPath};

fn by(split: u64) -> TextOptions {
    TextOptions { split_bytes: Some(split), ..Default::default() }
}

fn lines(contents: &[u8]) -> Vec<String> {
    contents.lines().collect::<std::io::Result<_>>().unwrap()
}

fn read(path: impl Into<TextPath>, options: TextOptions) -> Result<Vec<String>> {
    Ok(all(&TextFiles::new(path, options)?)?.concat())
}

fn file(contents: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(contents).unwrap();
    file
}

fn gzip(contents: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(contents).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum, as the command line tool makes it: without one, not all damage can be found.
fn packed_zstd(contents: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(contents).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_split_size_gives_the_lines_of_the_file(
        text in "([a-zé鯨🐋]{0,9}(\n|\r\n|\r|\n\n)){0,20}[a-z\r]{0,5}",
        budget in 1usize..5,
    ) {
        let expected = lines(text.as_bytes());
        let file = file(text.as_bytes());
        let task = task();
        for split in 1..=text.len() as u64 + 1 {
            let source = TextFiles::new(file.path(), by(split)).unwrap();
            prop_assert_eq!(u64::from(source.partitions()), (text.len() as u64).div_ceil(split).max(1));
            let mut found = Vec::new();
            for partition in 0..source.partitions() {
                found.extend(rows_by(&source, partition, budget, &task).unwrap());
            }
            prop_assert_eq!(&found, &expected, "splits of {}", split);
        }
    }

    #[test]
    fn bytes_of_any_kind_are_lines_or_an_error_at_the_right_place(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let file = file(&bytes);
        for split in [1, 7, 1000] {
            match std::str::from_utf8(&bytes) {
                Ok(_) => prop_assert_eq!(read(file.path(), by(split)).unwrap(), lines(&bytes)),
                Err(error) => {
                    let found = read(file.path(), by(split)).unwrap_err();
                    let at = Some(error.valid_up_to() as u64);
                    prop_assert!(matches!(&found, Error::Input { offset, .. } if *offset == at), "{}", found);
                }
            }
            let lossy = read(file.path(), TextOptions { lossy: true, ..by(split) }).unwrap();
            prop_assert_eq!(lossy, lines(String::from_utf8_lossy(&bytes).as_bytes()));
        }
    }
}

#[test]
fn lines_longer_than_every_buffer_are_whole() {
    let mut contents = Vec::new();
    for (i, len) in [3, 700_000, 0, 262_144, 262_143, 1, 3_000_000, 65_536].into_iter().enumerate() {
        contents.extend(std::iter::repeat_n(b'a' + i as u8, len));
        contents.push(b'\n');
    }
    contents.extend([b'z'; 300_000]);
    let file = file(&contents);
    let expected = lines(&contents);
    for split in [1 << 10, 65_536, 262_144, 1 << 20, 1 << 30] {
        assert_eq!(read(file.path(), by(split)).unwrap(), expected, "splits of {split}");
    }
}

#[test]
fn a_line_longer_than_the_budget_is_an_error_not_a_dead_process() {
    let file = file(&[b'x'; 4 << 20]);
    let source = TextFiles::new(file.path(), by(8 << 20)).unwrap();
    let error = rows_by(&source, 0, 10, &task_with(1 << 20)).unwrap_err();
    assert!(matches!(&error, Error::Limit { name, value, .. } if name == "memory" && *value == 1 << 20), "{error}");
}

#[test]
fn default_splits_follow_from_the_bytes_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse.txt");
    let partitions = |bytes: u64| {
        fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        TextFiles::new(&path, TextOptions::default()).unwrap().partitions()
    };
    assert_eq!([0, 1, 65_536, 65_537, 1_256_167].map(partitions), [1, 1, 1, 2, 20]);
    assert_eq!([64 << 20, 2 << 30, 4 << 30].map(partitions), [64, 64, 128]);
    assert!(TextFiles::new(&path, by(0)).is_err());
    assert!(TextFiles::new(&path, by(1 << 60)).is_ok());
    partitions(1 << 33);
    assert!(TextFiles::new(&path, by(1)).unwrap_err().to_string().contains("too many partitions"));
}

#[test]
fn a_directory_is_its_files_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.txt", "a.txt", ".hidden", "_SUCCESS", "c.log"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    fs::create_dir(dir.path().join("inner")).unwrap();
    fs::write(dir.path().join("inner/deep.txt"), "deep").unwrap();
    fs::create_dir(dir.path().join("void")).unwrap();
    let under = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let rows = |path: TextPath| read(path, TextOptions::default());
    assert_eq!(rows(dir.path().into()).unwrap(), ["a.txt", "b.txt", "c.log"]);
    assert_eq!(rows(under("*.txt").into()).unwrap(), ["a.txt", "b.txt"]);
    assert_eq!(rows(under("*").into()).unwrap(), ["a.txt", "b.txt", "c.log", "deep"], "directories in a glob are read");
    assert_eq!(rows(under("_*").into()).unwrap(), ["_SUCCESS"]);
    assert_eq!(rows(under(".hidden").into()).unwrap(), [".hidden"]);
    assert_eq!(rows([under("c.log"), under("a.*")].into()).unwrap(), ["c.log", "a.txt"]);
    for missing in ["no.txt", "no*", "void", "[a"] {
        let error = rows(under(missing).into()).unwrap_err();
        assert!(error.to_string().starts_with(&under(missing)), "{error}");
    }
    assert!(rows(Vec::<String>::new().into()).is_err());
    let pipe = under("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(rows(pipe.into()).unwrap_err().to_string().contains("no regular file"), "and does not wait for a writer");
    assert!(rows("/dev/null".into()).unwrap_err().to_string().contains("no regular file"));
    assert!(rows("/proc/self/status".into()).unwrap_err().to_string().contains("does not know its size"));
}

#[test]
fn what_is_read_is_shown_as_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "x").unwrap();
    let shown = |options| TextFiles::new(dir.path(), options).unwrap().describe();
    let path = dir.path().display();
    assert_eq!(shown(TextOptions::default()), format!("{path}, 1 split"));
    fs::write(dir.path().join("b"), "xyz").unwrap();
    assert_eq!(shown(by(1)), format!("{path}, 2 files, 4 splits"));
}

#[test]
fn compressed_files_are_known_by_content() {
    let text: String = (0..40_000).map(|i| format!("line {i}\r\n")).collect();
    let (first, second) = text.as_bytes().split_at(100_001);
    let expected = lines(text.as_bytes());
    let zipped = [gzip(first), gzip(second)].concat();
    let zstd = [first, second].map(packed_zstd).concat();
    for packed in [&zipped, &zstd] {
        let whole = file(packed);
        let source = TextFiles::new(whole.path(), by(1000)).unwrap();
        assert_eq!(source.partitions(), 1);
        assert_eq!(all(&source).unwrap().concat(), expected);

        // Cut anywhere but between the two parts, it is an error that says where.
        let cut = file(&packed[..packed.len() - 1000]);
        let error = read(cut.path(), by(1000)).unwrap_err();
        let at = (packed.len() - 1000) as u64;
        assert!(matches!(&error, Error::Input { offset: Some(offset), .. } if *offset == at), "{error}");
        assert!(error.to_string().contains("ends too early"), "{error}");

        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 40].fill(0xff);
        let error = read(file(&damaged).path(), by(1000)).unwrap_err();
        assert!(matches!(&error, Error::Input { offset: Some(_), .. }), "{error}");
    }
    let error = read(file(&gzip(b"good\nb\xffd\n")).path(), by(1)).unwrap_err();
    assert!(
        matches!(&error, Error::Input { offset: Some(6), message, .. } if message.contains("compressed")),
        "{error}"
    );
    assert!(read(file(&gzip(b"")).path(), by(1)).unwrap().is_empty());
}

#[test]
fn good_lines_before_a_bad_byte_are_given_first() {
    let file = file(b"one\ntwo\nthr\xc3\xff\nfour\n");
    let source = TextFiles::new(file.path(), by(1000)).unwrap();
    let mut cursor = source.open(0, &task()).unwrap();
    let mut found = Vec::new();
    let error = cursor
        .advance(10, &mut |line| {
            found.push(line);
            tryworks_core::pipe::CONTINUE
        })
        .unwrap_err();
    assert_eq!(found, ["one", "two"]);
    assert!(matches!(&error, Error::Input { offset: Some(11), .. }), "{error}");
    assert!(error.to_string().contains("not UTF-8 (0xc3)"), "{error}");
}

#[test]
fn a_file_that_shrank_is_an_error() {
    let text = "0123456789\n".repeat(1000);
    for packed in [text.clone().into_bytes(), gzip(text.as_bytes())] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, &packed).unwrap();
        let source = TextFiles::new(&path, by(1 << 20)).unwrap();
        let left = packed.len() as u64 / 2;
        fs::File::options().write(true).open(&path).unwrap().set_len(left).unwrap();
        let error = all(&source).unwrap_err();
        assert!(matches!(&error, Error::Input { offset: Some(at), .. } if *at == left), "{error}");
        assert!(error.to_string().contains("when it was listed"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(all(&source).unwrap_err().to_string().starts_with(&path.display().to_string()));
    }
}

#[test]
fn what_is_appended_after_listing_is_not_read() {
    let file = file(b"one\ntw");
    let source = TextFiles::new(file.path(), by(2)).unwrap();
    file.as_file().write_all(b"o\nthree\n").unwrap();
    assert_eq!(all(&source).unwrap().concat(), ["one", "tw"]);
}

#[test]
fn a_sink_that_has_enough_gets_no_further_line() {
    let file = file(b"a\nb\nc\n");
    let source = TextFiles::new(file.path(), by(1000)).unwrap();
    let mut cursor = source.open(0, &task()).unwrap();
    let mut calls = 0;
    cursor
        .advance(1024, &mut |_| {
            calls += 1;
            STOP
        })
        .unwrap();
    assert_eq!(calls, 1);
}

#[test]
fn a_source_is_the_same_after_it_was_sent() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let strange = dir.path().join(std::ffi::OsStr::from_bytes(b"not\xffutf8"));
    fs::write(&strange, "one\ntwo").unwrap();
    let source = TextFiles::new(Path::new(&strange), by(3)).unwrap();
    let mut bytes = Vec::new();
    tryworks_core::codec::encode(&source, &mut bytes).unwrap();
    let (sent, _) = tryworks_core::codec::decode::<TextFiles>(&bytes).unwrap();
    assert_eq!(all(&sent).unwrap(), all(&source).unwrap());
    assert_eq!(all(&sent).unwrap().concat(), ["one", "two"]);
}
