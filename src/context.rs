//! The context: the driver's handle on where things run.

use crate::progress::Bar;
use crate::settings::{self, Settings};
use std::path::PathBuf;
use std::sync::Arc;
use tryworks_base::memory::Memory;
use tryworks_base::paths::whole;
use tryworks_base::{Error, Result};
use tryworks_core::data::Data;
use tryworks_core::pipe::Pipe;
use tryworks_core::runner::Runner;
use tryworks_core::ship::{NoCaptures, captures_nothing};
use tryworks_core::{BEGIN_WITH, Dataset};
use tryworks_io::Sources;
use tryworks_runtime::Runtime;

/// A program makes its datasets and runs its jobs through a context. Its sources are the methods of [`Sources`].
///
/// Datasets may outlive the context: they keep alive what they need.
pub struct Context {
    runtime: Arc<dyn Runtime>,
    memory: Arc<Memory>,
    _bar: Option<Bar>,
}

impl Context {
    /// Makes a context with the settings of the environment. Call it on the first line of `main`: engines of a cluster
    /// start this same program, with the same arguments, to run tasks. In these processes `init` does not return, so
    /// what `main` sets up after it does not exist where tasks run.
    ///
    #[doc = include_str!("../docs/settings.md")]
    ///
    /// # Errors
    /// If a variable is wrong, the cluster cannot be reached, or the event log cannot be created. An event log together
    /// with a cluster is an error, too.
    pub fn init() -> Result<Self> {
        #[cfg(feature = "cluster")]
        tryworks_runtime::worker::serve_if_asked();
        let settings = settings::from_environment(|name| std::env::var_os(name))?;
        Builder { settings, progress: true, fault: None }.build()
    }

    /// Makes a context that runs jobs on `threads` threads and ignores the environment. Examples and tests use it.
    ///
    /// # Errors
    /// If `threads` is 0, or more than 4,096.
    #[track_caller]
    pub fn local(threads: usize) -> Result<Self> {
        Context::builder().threads(threads).progress(false).build()
    }

    /// Makes a context by hand. It ignores the environment.
    pub fn builder() -> Builder {
        Builder { settings: settings::default(), progress: true, fault: None }
    }

    /// A dataset of `partitions` partitions. `function` makes the items of each partition from its number.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// assert_eq!(cx.from_fn(3, |partition| 0..partition).collect()?, [0, 0, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn from_fn<F, I>(&self, partitions: u32, function: F) -> Dataset<impl Pipe<Item = I::Item> + use<F, I>>
    where
        F: Fn(u32) -> I + NoCaptures,
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static> + 'static,
    {
        const { captures_nothing::<F>(BEGIN_WITH) }
        tryworks_core::from_fn(self.runner(), partitions, function)
    }

    /// The items of all `datasets`, one after another.
    ///
    /// ```
    /// # use tryworks::prelude::*;
    /// # let cx = Context::local(2)?;
    /// let parts: Vec<Data<u64>> = (0..3).map(|n| cx.range(n..n + 2).boxed()).collect();
    /// assert_eq!(cx.union(parts).collect()?, [0, 1, 1, 2, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn union<T: Send + 'static>(&self, datasets: Vec<Data<T>>) -> Dataset<impl Pipe<Item = T> + use<T>> {
        Dataset::union_all(self.runner(), datasets)
    }

    /// The memory budget of this process: its limit, what is reserved, and what was spilled so far. The engines of a
    /// cluster have their own budgets.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// How many bytes of this process's spill files are in use now.
    pub fn spill_bytes(&self) -> u64 {
        self.runtime.spill_bytes()
    }

    /// How many blocks of shuffles and cached partitions this process keeps now.
    pub fn blocks(&self) -> usize {
        self.runtime.blocks()
    }

    /// Stops the context: running jobs fail with [`Error::Stopped`](crate::Error::Stopped), and so does every later
    /// action.
    pub fn stop(&self) {
        self.runtime.stop();
    }
}

impl Sources for Context {
    fn runner(&self) -> Arc<dyn Runner> {
        self.runtime.clone()
    }
}

/// Builds a context by hand.
///
/// ```
/// use tryworks::prelude::*;
/// let cx = Context::builder().threads(2).memory(256 << 20).build()?;
/// assert_eq!(cx.memory().limit(), 256 << 20);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a builder makes no context until `build` is called"]
pub struct Builder {
    pub(crate) settings: Settings,
    progress: bool,
    /// The error of the first setting that is wrong.
    fault: Option<Error>,
}

impl Builder {
    /// Records a wrong setting. The first one is the error of `build`.
    #[track_caller]
    pub(crate) fn refuse(&mut self, why: String) {
        self.fault.get_or_insert(Error::plan(why));
    }

    /// The value of `what`, or nothing if it was wrong.
    #[track_caller]
    pub(crate) fn unless_wrong<T>(&mut self, what: &str, value: Result<T, String>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.refuse(format!("{what} {wrong}"));
                None
            }
        }
    }

    /// How many tasks run at once: 1 to 4,096. Other numbers are an error when the context is built.
    #[track_caller]
    pub fn threads(mut self, threads: usize) -> Self {
        if let Some(threads) = self.unless_wrong("`threads`", settings::threads(threads)) {
            self.settings.local.threads = threads;
        }
        self
    }

    /// The memory budget in bytes. A budget of nothing is an error when the context is built.
    #[track_caller]
    pub fn memory(mut self, bytes: u64) -> Self {
        if let Some(bytes) = self.unless_wrong("`memory`", settings::memory(bytes)) {
            self.settings.local.memory = bytes;
        }
        self
    }

    /// The directory of spill files.
    #[track_caller]
    pub fn spill_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        // Absolute, because the process may change its directory before it uses the path.
        if let Some(dir) = self.unless_wrong("the path of the directory of spill files", whole(&dir.into())) {
            self.settings.local.spill_dir = dir;
        }
        self
    }

    /// The most bytes that spill files may take.
    pub fn spill_quota(mut self, bytes: u64) -> Self {
        self.settings.local.spill.quota = Some(bytes);
        self
    }

    /// Whether spill files are compressed.
    pub fn compress_spills(mut self, compress: bool) -> Self {
        self.settings.local.spill.compress = compress;
        self
    }

    /// The most bytes of results that a job brings to the driver.
    pub fn max_result_bytes(mut self, bytes: u64) -> Self {
        self.settings.local.max_result_bytes = bytes;
        self
    }

    /// How many attempts a task has whose function fails. The default is one on the program's own threads, where a
    /// failure usually happens again, and four on a cluster. No attempt at all is an error when the context is built.
    #[track_caller]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        if attempts == 0 {
            self.refuse("`max_attempts` asks for 0 attempts, with which no task would run; ask for 1 or more".into());
        }
        self.settings.max_attempts = Some(attempts);
        self
    }

    /// A file for the event log of jobs on the program's own threads. On a cluster this is an error, because its
    /// journal has the jobs.
    #[track_caller]
    pub fn event_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.local.event_log = self.unless_wrong("the path of the event log", whole(&path.into()));
        self
    }

    /// Whether rows are checked. A checked row is encoded and decoded whenever a task hands it to another task or to
    /// the driver, even if it stays in memory, and the decoded row is handed over.
    ///
    /// Some types do not come back as they were, such as a struct with a field with `#[serde(skip)]`. With checks, such
    /// a type is an [`Error::Type`](crate::Error::Type) that names it, or gives the same wrong answer every time.
    /// Without them, it may give a wrong answer only when memory is short, or on a cluster. Values that the program
    /// gives to tasks (`with`, `parallelize`, the first value of `fold`) are checked in the same way, on the driver.
    ///
    /// Checks take time. By default, debug builds check rows and release builds do not.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use tryworks::prelude::*;
    ///
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct Reading {
    ///     value: f64,
    ///     #[serde(skip)]
    ///     rank: u64,
    /// }
    ///
    /// let cx = Context::builder().check_rows(true).build()?;
    /// let readings = cx.range(0..10).map(|n| Reading { value: n as f64, rank: n });
    /// let error = readings.repartition(2).map(|reading| reading.rank).collect().unwrap_err();
    /// assert!(error.to_string().contains("loses 8 bytes of `Reading`"), "{error}");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn check_rows(mut self, check: bool) -> Self {
        self.settings.local.checks_rows = check;
        self
    }

    /// Whether a progress bar is shown while a job runs, if standard error is a terminal.
    pub fn progress(mut self, show: bool) -> Self {
        self.progress = show;
        self
    }

    /// Makes the context. Threads that run tasks start with the first job.
    ///
    /// # Errors
    /// If a setting is wrong, such as a path, the cluster cannot be reached, or the event log cannot be created. An
    /// event log together with a cluster is an error, too.
    pub fn build(self) -> Result<Context> {
        self.fault.map_or(Ok(()), Err)?;
        let (runtime, memory) = self.settings.runtime()?;
        let bar = self.progress.then(|| Bar::show(&runtime)).flatten();
        Ok(Context { runtime, memory, _bar: bar })
    }
}
