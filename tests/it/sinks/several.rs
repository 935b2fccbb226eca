//! Several files of a partition: the next file when one is large enough, and a directory for each value of a key.

use super::trying_twice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tryworks::places::Directory;
use tryworks::prelude::*;
use tryworks::sink::{FileLayout, FileWriter, Files, Format, LayoutWriter, Place, Receipt, Sink};
use tryworks::text::Lines;

/// Begins another file when one has `bytes` bytes.
#[derive(Clone, Serialize, Deserialize)]
struct Rolling<F> {
    format: F,
    bytes: u64,
}

struct RollingWriter<T, F: Format<T>, P: Place> {
    layout: Rolling<F>,
    files: Files<P>,
    file: Option<FileWriter<T, F, P>>,
    ended: Vec<Receipt<P>>,
}

impl<T, F: Format<T>> FileLayout<T> for Rolling<F> {
    type Writer<P: Place> = RollingWriter<T, F, P>;

    const SEVERAL_FILES: bool = true;

    fn extension(&self) -> &str {
        ".txt"
    }

    fn open<P: Place>(&self, files: Files<P>) -> Result<RollingWriter<T, F, P>> {
        Ok(RollingWriter { layout: self.clone(), files, file: None, ended: Vec::new() })
    }
}

impl<T, F: Format<T>, P: Place> LayoutWriter<T, P> for RollingWriter<T, F, P> {
    fn write(&mut self, item: T) -> Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.files.create(&self.layout.format, String::new())?,
        };
        file.write(item)?;
        if file.position() < self.layout.bytes {
            self.file = Some(file);
        } else {
            self.ended.push(file.end()?);
        }
        Ok(())
    }

    fn end(mut self) -> Result<Vec<Receipt<P>>> {
        if let Some(file) = self.file.take() {
            self.ended.push(file.end()?);
        }
        Ok(self.ended)
    }
}

/// Values in the directories of their keys.
#[derive(Clone, Serialize, Deserialize)]
struct ByKey<F>(F);

struct ByKeyWriter<V, F: Format<V>, P: Place> {
    format: F,
    files: Files<P>,
    open: BTreeMap<String, FileWriter<V, F, P>>,
}

impl<V, F: Format<V>> FileLayout<(String, V)> for ByKey<F> {
    type Writer<P: Place> = ByKeyWriter<V, F, P>;

    const SEVERAL_FILES: bool = true;

    fn extension(&self) -> &str {
        self.0.extension()
    }

    fn open<P: Place>(&self, files: Files<P>) -> Result<ByKeyWriter<V, F, P>> {
        Ok(ByKeyWriter { format: self.0.clone(), files, open: BTreeMap::new() })
    }
}

impl<V, F: Format<V>, P: Place> LayoutWriter<(String, V), P> for ByKeyWriter<V, F, P> {
    fn write(&mut self, (key, value): (String, V)) -> Result<()> {
        if let Some(file) = self.open.get_mut(&key) {
            return file.write(value);
        }
        let mut file = self.files.create(&self.format, format!("kind={key}"))?;
        file.write(value)?;
        self.open.insert(key, file);
        Ok(())
    }

    fn end(self) -> Result<Vec<Receipt<P>>> {
        self.open.into_values().map(FileWriter::end).collect()
    }
}

/// A pair of a layout and a place.
struct To<L, P>(L, P);

impl<T, L: FileLayout<T>, P: Place> Sink<T> for To<L, P> {
    type Layout = L;
    type Place = P;

    fn into_pair(self) -> Result<(L, P)> {
        Ok((self.0, self.1))
    }
}

/// The files under `dir` by path, with the lines of each.
fn saved(dir: &Path) -> BTreeMap<PathBuf, Vec<u64>> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(dir, &mut found);
    assert!(found.contains(&dir.join("_SUCCESS")));
    found.retain(|path| !path.ends_with("_SUCCESS"));
    let lines = |path: &PathBuf| -> Vec<u64> {
        std::fs::read_to_string(path).unwrap().lines().map(|line| line.parse().unwrap()).collect()
    };
    found.iter().map(|path| (path.strip_prefix(dir).unwrap().to_path_buf(), lines(path))).collect()
}

#[test]
fn a_partition_is_as_many_files_as_its_size_asks_for() -> Result<()> {
    let cx = Context::local(2)?;
    let scratch = tempfile::tempdir()?;
    let numbers = cx.range_in(10_000..13_000, 3).filter(|n| !(11_000..12_000).contains(n));
    for at_driver in [false, true] {
        let dir = scratch.path().join(format!("{at_driver}"));
        // Lines of six bytes: 334 of them are 2,004.
        let sink = To(Rolling { format: Lines, bytes: 2_000 }, Directory::new(&dir)?);
        if at_driver {
            numbers.to_driver().save(sink)?
        } else {
            numbers.save(sink)?
        }
        let saved = saved(&dir);
        let name = |part: usize, file: usize| PathBuf::from(format!("part-0000{part}-0000{file}.txt"));
        let names: Vec<_> = saved.keys().cloned().collect();
        assert_eq!(names, [name(0, 0), name(0, 1), name(0, 2), name(2, 0), name(2, 1), name(2, 2)]);
        let sizes: Vec<_> = saved.values().map(Vec::len).collect();
        assert_eq!(sizes, [334, 334, 332, 334, 334, 332]);
        let found: Vec<u64> = saved.into_values().flatten().collect();
        assert!(found.into_iter().eq((10_000..11_000).chain(12_000..13_000)));
        assert_eq!(cx.text_file(&dir).count()?, 2_000, "and it is read as any directory");
    }
    Ok(())
}

#[test]
fn items_go_to_the_directories_of_their_keys() -> Result<()> {
    let cx = Context::local(2)?;
    let scratch = tempfile::tempdir()?;
    let pairs = cx.range_in(0..900, 3).map(|n| (["odd", "even"][usize::from(n % 2 == 0)].to_string(), n));
    for at_driver in [false, true] {
        let dir = scratch.path().join(format!("{at_driver}"));
        let sink = To(ByKey(Lines), Directory::new(&dir)?);
        if at_driver {
            pairs.to_driver().save(sink)?
        } else {
            pairs.save(sink)?
        }
        let saved = saved(&dir);
        assert_eq!(saved.len(), 6, "{:?}", saved.keys());
        for (kind, rest) in [("even", 0), ("odd", 1)] {
            let under = |(path, _): &(&PathBuf, &Vec<u64>)| path.starts_with(format!("kind={kind}"));
            let found = saved.iter().filter(under).flat_map(|(_, numbers)| numbers.iter().copied());
            assert!(found.eq((0..900).filter(|n| n % 2 == rest)), "{kind}");
            assert_eq!(cx.text_file(dir.join(format!("kind={kind}"))).count()?, 450);
        }
    }
    Ok(())
}

#[test]
fn files_of_an_attempt_that_failed_are_not_among_those_of_the_next() -> Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let cx = trying_twice();
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("out");
    // The first attempt writes something else than the second one.
    let numbers = cx.range_in(0..1_000, 2).map(|n| {
        if n == 0 {
            RUNS.fetch_add(1, Relaxed);
        }
        let is_first = n < 500 && RUNS.load(Relaxed) == 1;
        assert!(!is_first || n < 450, "the first attempt fails");
        if is_first { n + 5_000 } else { n }
    });
    numbers.save(To(Rolling { format: Lines, bytes: 100 }, Directory::new(&dir)?))?;
    assert_eq!(RUNS.load(Relaxed), 2);
    assert!(saved(&dir).into_values().flatten().eq(0..1_000));
    assert_eq!(std::fs::read_dir(&dir)?.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 0);
    Ok(())
}

#[test]
fn a_failed_save_leaves_no_file_and_no_directory() -> Result<()> {
    static FAILING: AtomicUsize = AtomicUsize::new(0);
    let cx = Context::local(1)?;
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("there");
    std::fs::create_dir(&dir)?;
    let pairs = cx.range_in(0..900, 9).map(|n| {
        // Eight partitions have been accepted by then, or are about to be.
        if n == 899 {
            FAILING.fetch_add(1, Relaxed);
            panic!("the last one");
        }
        (format!("{}", n % 7), n)
    });
    assert!(pairs.save(To(ByKey(Lines), Directory::new(&dir)?)).is_err());
    assert_eq!(FAILING.load(Relaxed), 1);
    assert_eq!(std::fs::read_dir(&dir)?.count(), 0);

    // A text that cannot be the name of a directory is refused before anything is written there.
    let escaping = cx.range_in(0..2, 1).map(|n| ("/../../escaped".to_string(), n));
    let error = escaping.save(To(ByKey(Lines), Directory::new(&dir)?)).unwrap_err();
    assert!(error.to_string().contains("would not be below"), "{error}");
    assert_eq!(std::fs::read_dir(scratch.path())?.count(), 1);
    Ok(())
}
