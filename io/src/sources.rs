//! The methods by which a context makes datasets from inputs.

use crate::files::{Paths, Shipped};
use crate::input::Input;
use crate::records::{RecordFiles, records};
use crate::rows::{Numbers, Parallelize};
use crate::text::{TextFiles, text};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tryworks_base::{Error, Result};
use tryworks_core::Dataset;
use tryworks_core::runner::Runner;
use tryworks_core::source::Read;

/// Makes datasets from inputs: the ways in which a context can read.
///
/// None of these methods fails. What is wrong with an input, such as a path that does not exist, is reported by the
/// first action, with the place of the call made here.
pub trait Sources {
    /// Runs the jobs of the datasets.
    fn runner(&self) -> Arc<dyn Runner>;

    /// The items in files of a format, such as [`text`].
    ///
    /// The files are listed now, on this machine: files that are added later are not read.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("notes.txt");
    /// std::fs::write(&path, "call\nme\nIshmael\n").unwrap();
    /// assert_eq!(cx.read(text(&path).split_bytes(8)).collect()?, ["call", "me", "Ishmael"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    fn read<I: Input>(&self, input: I) -> Dataset<Read<I::Source>> {
        listed(self.runner(), I::NAME, &input)
    }

    /// The lines of a file, of the files of a directory, of a glob, or of several of these: `read(text(path))`. Files
    /// compressed with gzip or zstd are recognised by their content.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// std::fs::write(scratch.path().join("a.txt"), "call\nme\n").unwrap();
    /// std::fs::write(scratch.path().join("b.txt"), "Ishmael\n").unwrap();
    /// assert_eq!(cx.text_file(scratch.path().join("*.txt")).collect()?, ["call", "me", "Ishmael"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    fn text_file(&self, path: impl Into<Paths>) -> Dataset<Read<TextFiles>> {
        listed(self.runner(), "text_file", &text(path))
    }

    /// The records of files, `N` bytes each, without separators: `read(records::<N>(path))`. If the size of a file is
    /// no multiple of `N`, the error says so.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("pairs");
    /// std::fs::write(&path, b"b2a1c3").unwrap();
    /// let pairs = cx.records::<2>(&path);
    /// assert_eq!(pairs.sort_by(|pair| pair.prefix::<1>()).collect()?, [*b"a1", *b"b2", *b"c3"].map(Record));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    fn records<const N: usize>(&self, path: impl Into<Paths>) -> Dataset<Read<RecordFiles<N>>> {
        self.read(records(path))
    }

    /// Gives a file of this machine to tasks, whichever machine they run on. Pass the returned value to a function by
    /// `with`: there it says where the file is. The file is sent now, and to each machine at most once.
    ///
    /// # Errors
    /// If it is no regular file, cannot be read, or cannot be sent.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("stop-words.txt");
    /// # std::fs::write(&path, "the\n").unwrap();
    /// let stop = cx.ship_file(&path)?;
    /// let words = cx.parallelize(["the".to_string(), "whale".to_string()]);
    /// let kept = words.with(stop).try_map(|stop, word| {
    ///     let stop = std::fs::read_to_string(stop.path()?)?;
    ///     Ok((!stop.lines().any(|line| line == word)).then_some(word))
    /// });
    /// assert_eq!(kept.collect()?, [None, Some("whale".to_string())]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    fn ship_file(&self, path: impl AsRef<Path>) -> Result<Shipped> {
        Shipped::by(&*self.runner(), path)
    }

    /// Rows that the program has in memory. They travel with the plan, so this is not for large data. Rows have to own
    /// their contents: a `String` or a `Str`; a `&str` would not compile.
    #[track_caller]
    fn parallelize<T>(&self, rows: impl IntoIterator<Item = T>) -> Dataset<Read<Parallelize<T>>>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let source = Parallelize::new(rows.into_iter().collect());
        Dataset::from_source(self.runner(), "parallelize", source, None)
    }

    /// As [`parallelize`](Sources::parallelize), in `partitions` partitions.
    #[track_caller]
    fn parallelize_in<T>(&self, rows: impl IntoIterator<Item = T>, partitions: u32) -> Dataset<Read<Parallelize<T>>>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let fault = fault_in("parallelize_in", partitions);
        let source = Parallelize::divided(rows.into_iter().collect(), partitions);
        Dataset::from_source(self.runner(), "parallelize_in", source, fault)
    }

    /// The numbers of a range, in order.
    #[track_caller]
    fn range(&self, numbers: Range<u64>) -> Dataset<Read<Numbers>> {
        Dataset::from_source(self.runner(), "range", Numbers::new(numbers), None)
    }

    /// As [`range`](Sources::range), in `partitions` partitions.
    #[track_caller]
    fn range_in(&self, numbers: Range<u64>, partitions: u32) -> Dataset<Read<Numbers>> {
        let fault = fault_in("range_in", partitions);
        Dataset::from_source(self.runner(), "range_in", Numbers::divided(numbers, partitions), fault)
    }
}

#[track_caller]
fn listed<I: Input>(runner: Arc<dyn Runner>, name: &'static str, input: &I) -> Dataset<Read<I::Source>> {
    match input.list(&*runner) {
        Ok(source) => Dataset::from_source(runner, name, source, None),
        // A mistake in the program or its arguments, not in the data: the error names the place of the call.
        Err(error) => {
            let fault = Error::plan(format!("`{name}` cannot read {error}"));
            Dataset::from_source(runner, name, input.none(), Some(fault))
        }
    }
}

#[track_caller]
fn fault_in(name: &str, partitions: u32) -> Option<Error> {
    // Not in a closure: a closure would not know the caller.
    if partitions == 0 {
        return Some(Error::plan(format!("`{name}` was asked for no partition at all; ask for 1 or more")));
    }
    None
}
