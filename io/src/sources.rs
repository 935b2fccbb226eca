//! The methods by which a context makes datasets out of inputs.

use crate::rows::{Numbers, Parallelize};
use crate::shipped::Shipped;
use crate::text::{TextFiles, TextOptions, TextPath};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tryworks_base::{Error, Result};
use tryworks_core::Dataset;
use tryworks_core::runner::Runner;
use tryworks_core::source::From;

/// Makes datasets out of inputs: what a context can read.
///
/// None of these methods fails. What is wrong with an input, such as a path that does not exist, is told by the
/// first action, with the place of the call made here.
pub trait Sources {
    /// What runs the jobs of the datasets.
    fn runner(&self) -> Arc<dyn Runner>;

    /// The lines of a file, of the files of a directory, of a glob, or of several of these. Files that are
    /// compressed with gzip or zstd are known by their content.
    ///
    /// The paths are listed now, on this machine: what is added later is not read.
    #[track_caller]
    fn text_file(&self, path: impl Into<TextPath>) -> Dataset<From<TextFiles>> {
        text(self.runner(), "text_file", path.into(), TextOptions::default())
    }

    /// The same for text that is not all UTF-8: what is not becomes U+FFFD.
    #[track_caller]
    fn text_file_lossy(&self, path: impl Into<TextPath>) -> Dataset<From<TextFiles>> {
        text(self.runner(), "text_file_lossy", path.into(), TextOptions { lossy: true, ..TextOptions::default() })
    }

    /// The same with all options.
    #[track_caller]
    fn text_file_with(&self, path: impl Into<TextPath>, options: TextOptions) -> Dataset<From<TextFiles>> {
        text(self.runner(), "text_file_with", path.into(), options)
    }

    /// The same for files that only the driver's machine has: each engine on another machine is sent those of which it
    /// reads a part, whole, and has them until the driver's session ends. Where tasks run on the driver's machine
    /// nothing is copied.
    ///
    /// The files are sent off now, so this is for input that is small enough to travel.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("notes.txt");
    /// # std::fs::write(&path, "call\nme\n").unwrap();
    /// assert_eq!(cx.text_file_from_driver(&path).count()?, 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    fn text_file_from_driver(&self, path: impl Into<TextPath>) -> Dataset<From<TextFiles>> {
        let options = TextOptions { from_driver: true, ..TextOptions::default() };
        text(self.runner(), "text_file_from_driver", path.into(), options)
    }

    /// Gives a file of this machine along to tasks, whichever machine they run on: what comes back goes to a function
    /// by `with`, and says there where the file is. It is sent off now, and to each machine at most once.
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

    /// Rows that are here already. They travel with the plan, so this is not for large data, and they own what they
    /// hold: a `String` or a `Str`, where a `&str` would not compile.
    #[track_caller]
    fn parallelize<T>(&self, rows: impl IntoIterator<Item = T>) -> Dataset<From<Parallelize<T>>>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let source = Parallelize::new(rows.into_iter().collect());
        Dataset::from_source(self.runner(), "parallelize", source, None)
    }

    /// The same in so many partitions.
    #[track_caller]
    fn parallelize_in<T>(&self, rows: impl IntoIterator<Item = T>, partitions: u32) -> Dataset<From<Parallelize<T>>>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let fault = fault_in("parallelize_in", partitions);
        let source = Parallelize::divided(rows.into_iter().collect(), partitions);
        Dataset::from_source(self.runner(), "parallelize_in", source, fault)
    }

    /// The numbers of a range, in order.
    #[track_caller]
    fn range(&self, numbers: Range<u64>) -> Dataset<From<Numbers>> {
        Dataset::from_source(self.runner(), "range", Numbers::new(numbers), None)
    }

    /// The same in so many partitions.
    #[track_caller]
    fn range_in(&self, numbers: Range<u64>, partitions: u32) -> Dataset<From<Numbers>> {
        let fault = fault_in("range_in", partitions);
        Dataset::from_source(self.runner(), "range_in", Numbers::divided(numbers, partitions), fault)
    }
}

#[track_caller]
fn text(runner: Arc<dyn Runner>, name: &'static str, path: TextPath, options: TextOptions) -> Dataset<From<TextFiles>> {
    let listed = TextFiles::new(path.clone(), options);
    let listed = listed.and_then(|files| if options.from_driver { files.ship(&*runner) } else { Ok(files) });
    match listed {
        Ok(source) => Dataset::from_source(runner, name, source, None),
        // A mistake in the program or its arguments rather than in the data: it comes with the place of the call.
        Err(error) => {
            let fault = Error::plan(format!("`{name}` cannot read {error}"));
            Dataset::from_source(runner, name, TextFiles::none(path), Some(fault))
        }
    }
}

#[track_caller]
fn fault_in(name: &str, partitions: u32) -> Option<Error> {
    // Not in a closure: that would not know the caller.
    if partitions == 0 {
        return Some(Error::plan(format!("`{name}` was asked for no partition at all; ask for 1 or more")));
    }
    None
}
