//! One file that all tasks write to, each at the offset of its partition: an array of numbers after a header.

use super::trying_twice;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tryworks::prelude::*;
use tryworks::sink::{Buffer, Encoder, FileName, Format, Part, Place, SaveRequest};
use tryworks::task::TaskContext;

const HEADER: &[u8; 16] = b"an array of u64\n";

/// Eight bytes for each number.
#[derive(Clone, Serialize, Deserialize)]
struct Elements;

impl Format<u64> for Elements {
    type Encoder = Elements;

    fn begin(&self, _: &TaskContext, _: &mut Buffer) -> Result<Elements> {
        Ok(Elements)
    }
}

impl Encoder<u64> for Elements {
    fn write(&mut self, number: u64, to: &mut Buffer) -> Result<()> {
        to.bytes().extend(number.to_le_bytes());
        Ok(())
    }

    fn end(self, _: &mut Buffer) -> Result<()> {
        Ok(())
    }
}

/// A file for all numbers of all partitions.
#[derive(Clone, Serialize, Deserialize)]
struct OneArray {
    path: PathBuf,
    temporary: PathBuf,
    /// Where each partition begins, in numbers, and where the last one ends.
    bounds: Vec<u64>,
    /// The partitions that are written.
    #[serde(skip)]
    written: u32,
}

impl OneArray {
    fn new(path: PathBuf, bounds: Vec<u64>) -> Self {
        let temporary = path.with_extension("tmp");
        OneArray { path, temporary, bounds, written: 0 }
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::storage("saving", &self.path, error)
    }
}

impl Place for OneArray {
    type Part = Strip;

    fn prepare(&mut self, request: &SaveRequest<'_>) -> Result<bool> {
        if !request.is_deterministic {
            let message = "tasks that may write other numbers when they are tried again cannot share a file";
            return Err(Error::Plan { message: message.into(), site: request.op.site });
        }
        assert_eq!(self.bounds.len(), request.partitions as usize + 1);
        let make = || {
            let file = File::create_new(&self.temporary)?;
            file.write_all_at(HEADER, 0)?;
            file.set_len(HEADER.len() as u64 + 8 * self.bounds[self.bounds.len() - 1])
        };
        make().map(|()| true).map_err(|error| self.failed(&error))
    }

    fn open(&self, name: FileName, _: u64) -> Result<Strip> {
        let file = File::options().write(true).open(&self.temporary).map_err(|error| self.failed(&error))?;
        let [at, end] = [0, 1].map(|n| HEADER.len() as u64 + 8 * self.bounds[name.partition as usize + n]);
        Ok(Strip { file, at, end, path: self.path.clone() })
    }

    fn accept(&mut self, _: u32, files: Vec<u64>) -> Result<()> {
        assert_eq!(files.len(), 1);
        self.written += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        assert_eq!(self.written as usize + 1, self.bounds.len());
        fs::rename(&self.temporary, &self.path).map_err(|error| self.failed(&error))
    }

    fn abandon(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

/// The range of a partition.
struct Strip {
    file: File,
    at: u64,
    end: u64,
    path: PathBuf,
}

impl Part for Strip {
    type Receipt = u64;

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.at + bytes.len() as u64;
        if end > self.end {
            return Err(Error::input(
                self.path.display(),
                Some(self.end),
                "a partition has more numbers than was said",
            ));
        }
        self.file.write_all_at(bytes, self.at).map_err(|error| Error::storage("saving", &self.path, &error))?;
        self.at = end;
        Ok(())
    }

    fn commit(self) -> Result<u64> {
        if self.at < self.end {
            return Err(Error::input(
                self.path.display(),
                Some(self.at),
                "a partition has fewer numbers than was said",
            ));
        }
        Ok(self.at)
    }
}

fn numbers(path: &PathBuf) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..16], HEADER);
    bytes[16..].as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

#[test]
fn all_tasks_write_their_ranges_of_one_file() -> Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let cx = trying_twice();
    let scratch = tempfile::tempdir()?;
    // Several buffers for each partition, and one partition that is tried twice.
    let squares = cx.range_in(0..400_000, 4).map(|n| {
        assert!(n != 150_000 || RUNS.fetch_add(1, Relaxed) > 0, "the first time it fails");
        n * n
    });
    let bounds: Vec<u64> = (0..5).map(|n| n * 100_000).collect();
    for at_driver in [false, true] {
        RUNS.store(0, Relaxed);
        let path = scratch.path().join(format!("{at_driver}"));
        let sink = (Elements, OneArray::new(path.clone(), bounds.clone()));
        if at_driver {
            squares.to_driver().save(sink)?
        } else {
            squares.save(sink)?
        }
        assert_eq!(RUNS.load(Relaxed), 2);
        assert!(numbers(&path).into_iter().eq((0..400_000).map(|n| n * n)));
    }
    assert_eq!(fs::read_dir(scratch.path())?.count(), 2);
    Ok(())
}

#[test]
fn an_array_that_does_not_fit_one_file_is_refused_and_leaves_none() -> Result<()> {
    let cx = Context::local(2)?;
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("array");
    let odd = cx.range_in(0..100, 2);
    for bounds in [vec![0, 49, 100], vec![0, 50, 101]] {
        let error = odd.save((Elements, OneArray::new(path.clone(), bounds))).unwrap_err();
        assert!(error.to_string().contains("numbers than was said"), "{error}");
    }
    let random = odd.nondeterministic();
    let error = random.save((Elements, OneArray::new(path.clone(), vec![0, 50, 100]))).unwrap_err();
    assert!(error.to_string().contains("cannot share a file") && error.to_string().contains(file!()), "{error}");
    assert_eq!(fs::read_dir(scratch.path())?.count(), 0);
    odd.save((Elements, OneArray::new(path.clone(), vec![0, 50, 100])))?;
    assert!(numbers(&path).into_iter().eq(0..100));
    Ok(())
}
