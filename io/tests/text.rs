//! Compares the text source with plain reading by `std`.

mod support;

use proptest::prelude::*;
use std::fs;
use std::io::{BufRead, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use support::{all, rows_by, task, task_with};
use tryworks_base::{Error, Result};
use tryworks_core::pipe::{Cursor, STOP};
use tryworks_core::source::Source;
use tryworks_io::files::Paths;
use tryworks_io::text::{Text, TextFiles, text};

/// Reads in splits of `split` bytes.
fn by(split: u64) -> impl Fn(Text) -> Text {
    move |text| text.split_bytes(split)
}

fn plain(text: Text) -> Text {
    text
}

fn listed(path: impl Into<Paths>, how: impl Fn(Text) -> Text) -> Result<TextFiles> {
    TextFiles::of(&how(text(path)))
}

fn lines(contents: &[u8]) -> Vec<String> {
    contents.lines().collect::<std::io::Result<_>>().unwrap()
}

fn read(path: impl Into<Paths>, how: impl Fn(Text) -> Text) -> Result<Vec<String>> {
    Ok(all(&listed(path, how)?)?.concat())
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
            let source = listed(file.path(), by(split)).unwrap();
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
            let lossy = read(file.path(), |text: Text| text.split_bytes(split).lossy()).unwrap();
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
    let source = listed(file.path(), by(8 << 20)).unwrap();
    let error = rows_by(&source, 0, 10, &task_with(1 << 20)).unwrap_err();
    assert!(matches!(&error, Error::Limit { name, value, .. } if name == "memory" && *value == 1 << 20), "{error}");
}

#[test]
fn default_splits_follow_from_the_bytes_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse.txt");
    let partitions = |bytes: u64| {
        fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        listed(&path, plain).unwrap().partitions()
    };
    assert_eq!([0, 1, 65_536, 65_537, 1_256_167].map(partitions), [1, 1, 1, 2, 20]);
    assert_eq!([64 << 20, 2 << 30, 4 << 30].map(partitions), [64, 64, 128]);
    assert!(listed(&path, by(0)).is_err());
    assert!(listed(&path, by(1 << 60)).is_ok());
    partitions(1 << 33);
    assert!(listed(&path, by(1)).unwrap_err().to_string().contains("too many partitions"));
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
    let rows = |path: Paths| read(path, plain);
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
    let (pipe, _writer) = std::io::pipe().unwrap();
    let open_file = |file: &dyn AsRawFd| Paths::from(format!("/dev/fd/{}", file.as_raw_fd()));
    let error = rows(open_file(&pipe)).unwrap_err().to_string();
    assert!(error.contains("write what comes out of it to a file"), "{error}");
    // An open file is read by its name, and while it has none by its number.
    let file = fs::File::open(under("a.txt")).unwrap();
    assert_eq!(rows(open_file(&file)).unwrap(), ["a.txt"]);
    fs::remove_file(under("a.txt")).unwrap();
    assert_eq!(rows(open_file(&file)).unwrap(), ["a.txt"]);
    assert!(rows("/dev/null".into()).unwrap_err().to_string().contains("no regular file"));
    assert!(rows("/proc/self/status".into()).unwrap_err().to_string().contains("does not know its size"));
}

#[test]
fn what_is_read_is_shown_as_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "x").unwrap();
    let path = dir.path().display();
    assert_eq!(listed(dir.path(), plain).unwrap().describe(), format!("{path}, 1 split"));
    fs::write(dir.path().join("b"), "xyz").unwrap();
    assert_eq!(listed(dir.path(), by(1)).unwrap().describe(), format!("{path}, 2 files, 4 splits"));
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
        let source = listed(whole.path(), by(1000)).unwrap();
        assert_eq!(source.partitions(), 1);
        assert_eq!(all(&source).unwrap().concat(), expected);

        // A file cut anywhere except between its two parts is an error that says where.
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
    let source = listed(file.path(), by(1000)).unwrap();
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

/// Opens the first partition of `path`, changes the file, and reads on.
fn read_while(path: &Path, change: impl FnOnce()) -> Result<Vec<String>> {
    let source = listed(path, by(1 << 30)).unwrap();
    let mut cursor = source.open(0, &task()).unwrap();
    change();
    let mut rows = Vec::new();
    while cursor.advance(1000, &mut |row| {
        rows.push(row);
        tryworks_core::pipe::CONTINUE
    })? != tryworks_core::pipe::Step::Done
    {}
    Ok(rows)
}

fn set_modified(path: &Path, seconds_ago: u64) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds_ago);
    fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn a_file_that_shrank_is_an_error() {
    let text = "0123456789\n".repeat(100_000);
    for packed in [text.clone().into_bytes(), gzip(text.as_bytes())] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let left = packed.len() as u64 / 2;
        let cut = || fs::File::options().write(true).open(&path).unwrap().set_len(left).unwrap();
        fs::write(&path, &packed).unwrap();
        let error = read_while(&path, cut).unwrap_err();
        assert!(error.to_string().contains("when it was listed"), "{error}");

        fs::write(&path, &packed).unwrap();
        let source = listed(&path, by(1 << 20)).unwrap();
        cut();
        let error = all(&source).unwrap_err().to_string();
        let what = format!("it had {} bytes when it was listed, and has {left} now", packed.len());
        assert!(error.starts_with(&path.display().to_string()) && error.contains(&what), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(all(&source).unwrap_err().to_string().starts_with(&path.display().to_string()));
    }
}

#[test]
fn a_file_that_was_written_to_is_an_error_that_says_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let changed = |text: &str, change: &dyn Fn(), what: &str| {
        let write = || {
            fs::write(&path, text).unwrap();
            set_modified(&path, 10);
        };
        write();
        let listed = listed(&path, by(1 << 20)).unwrap();
        assert!(all(&listed).is_ok());
        change();
        let error = all(&listed).unwrap_err();
        assert!(matches!(&error, Error::Input { message, .. } if message.contains(what)), "{error}");
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        // The same change while the file is read.
        write();
        let read = read_while(&path, change);
        match what {
            // A reader keeps the file that it opened.
            "replaced by another file" => assert_eq!(read.unwrap(), lines(text.as_bytes())),
            _ => assert!(read.unwrap_err().to_string().contains(what)),
        }
    };
    let in_place = || fs::write(&path, "new\nrow\n").unwrap();
    changed("old\nrow\n", &in_place, "it was written to after it was listed");
    let appended = || fs::File::options().append(true).open(&path).unwrap().write_all(b"w\nthree\n").unwrap();
    changed("one\nt", &appended, "it had 5 bytes when it was listed, and has 13 now");
    let replaced = || {
        let other = dir.path().join("other");
        fs::write(&other, "new\nrow\n").unwrap();
        fs::rename(&other, &path).unwrap();
        set_modified(&path, 10);
    };
    changed("old\nrow\n", &replaced, "replaced by another file");
    changed("", &in_place, "it had 0 bytes");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let marked = |text: &str| format!("\u{feff}{text}").into_bytes();
    for text in ["", "\n", "one", "one\ntwo\n", "\r\nx", "\u{feff}\nsecond\n", "a\n\u{feff}b\n"] {
        let packed = [gzip(&marked(text)), packed_zstd(&marked(text))];
        for contents in [&marked(text), &packed[0], &packed[1]] {
            let file = file(contents);
            for split in [1, 2, 3, 4, 1000] {
                assert_eq!(
                    read(file.path(), by(split)).unwrap(),
                    lines(text.as_bytes()),
                    "{text:?} in splits of {split}"
                );
                let lossy = |text: Text| text.split_bytes(split).lossy();
                assert_eq!(read(file.path(), lossy).unwrap(), lines(text.as_bytes()));
            }
        }
    }
    assert_eq!(read(file(b"a\n\xef\xbb").path(), |text: Text| text.split_bytes(9).lossy()).unwrap(), ["a", "\u{fffd}"]);
    let error = read(
        file(&marked("good\nb\u{e9}d").iter().map(|b| if *b == 0xa9 { b'x' } else { *b }).collect::<Vec<_>>()).path(),
        by(1000),
    );
    assert!(matches!(error.unwrap_err(), Error::Input { offset: Some(9), .. }), "offsets count the mark");
    let error = read(file(b"\xff\xfeh\0i\0").path(), by(1000)).unwrap_err().to_string();
    assert!(error.contains("UTF-16") && error.contains("iconv"), "{error}");
}

#[test]
fn zeros_behind_a_gzip_member_are_padding() {
    let (one, two) = (gzip(b"one\n"), gzip(b"two\n"));
    let zeros = |n: usize| vec![0; n];
    for pad in [1, 7, 512, 65_535, 65_536, 200_000] {
        let padded = [one.clone(), zeros(pad)].concat();
        assert_eq!(read(file(&padded).path(), by(1)).unwrap(), ["one"], "{pad} zeros");
        let between = [one.clone(), zeros(pad), two.clone(), zeros(pad)].concat();
        assert_eq!(read(file(&between).path(), by(1)).unwrap(), ["one", "two"], "{pad} zeros");
        let garbage = [one.clone(), zeros(pad), b"garbage".to_vec()].concat();
        let error = read(file(&garbage).path(), by(1)).unwrap_err();
        let at = (one.len() + pad) as u64;
        assert!(matches!(&error, Error::Input { offset: Some(offset), .. } if *offset == at), "{error}");
        assert!(error.to_string().contains("neither another one nor zeros (0x67)"), "{error}");
    }
    let many: Vec<u8> = (0..3000).flat_map(|n| gzip(format!("{n}\n").as_bytes())).collect();
    assert_eq!(read(file(&many).path(), by(1)).unwrap(), (0..3000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_decompressors_hold_is_counted_and_a_window_that_is_too_large_says_so() {
    let with_window = |log: u32| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.set_parameter(zstd::stream::raw::CParameter::WindowLog(log)).unwrap();
        encoder.write_all(format!("a window of 2^{log}\n").as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    // The machine of these tests has one slot: a task may use half of the budget.
    for log in [10, 20, 23, 25, 27, 30, 31] {
        let file = file(&with_window(log));
        let source = listed(file.path(), by(1)).unwrap();
        for (limit, most) in [(1 << 20, 23), (64 << 20, 25), (256 << 20, 27), (4 << 30, 31)] {
            let task = task_with(limit);
            let read = rows_by(&source, 0, 1, &task);
            assert_eq!(read.is_ok(), log <= most, "a window of 2^{log} in {limit} bytes");
            assert_eq!(task.host().memory().used(), 0);
            match read {
                Ok(rows) => assert!(rows.len() == 1 && task.host().memory().peak() > 1 << log),
                Err(error) => {
                    assert!(matches!(&error, Error::Limit { name, value, .. } if name == "memory" && *value == limit));
                    let text = error.to_string();
                    assert!(
                        text.contains(&format!("a window of {} bytes", 1u64 << log)) && text.contains("--long"),
                        "{text}"
                    );
                    assert!(text.contains(&file.path().display().to_string()), "{text}");
                }
            }
        }
    }
    // Any frame may ask for a larger window.
    let frames = file(&[with_window(20), with_window(30)].concat());
    let source = listed(frames.path(), by(1)).unwrap();
    assert!(matches!(rows_by(&source, 0, 1, &task_with(64 << 20)), Err(Error::Limit { .. })));
    assert_eq!(rows_by(&source, 0, 1, &task_with(4 << 30)).unwrap().len(), 2);
    let skipped = [b"\x50\x2a\x4d\x18\x04\0\0\0skip".to_vec(), with_window(20)].concat();
    assert_eq!(read(file(&skipped).path(), by(1)).unwrap(), ["a window of 2^20"]);

    let unpacking = task_with(64 << 20);
    assert_eq!(rows_by(&listed(file(&gzip(b"x\n")).path(), by(1)).unwrap(), 0, 1, &unpacking).unwrap(), ["x"]);
    assert!(unpacking.host().memory().peak() > 256 << 10);
}

#[test]
fn a_sink_that_has_enough_gets_no_further_line() {
    let file = file(b"a\nb\nc\n");
    let source = listed(file.path(), by(1000)).unwrap();
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
    let source = listed(Path::new(&strange), by(3)).unwrap();
    let mut bytes = Vec::new();
    tryworks_base::codec::encode(&source, &mut bytes).unwrap();
    let (sent, _) = tryworks_base::codec::decode::<TextFiles>(&bytes).unwrap();
    assert_eq!(all(&sent).unwrap(), all(&source).unwrap());
    assert_eq!(all(&sent).unwrap().concat(), ["one", "two"]);
}
