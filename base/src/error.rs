//! What can go wrong, grouped by who can act on it.

use crate::Op;
use crate::ids::ExchangeId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::panic::Location;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. The first line of its text is what the user wants to know. `Debug` prints the same text, since a
/// `main` that returns a `Result` prints errors by `Debug`.
///
/// With `?` these errors of the program itself become an `Error`: errors of files, numbers and texts that cannot be
/// parsed, and messages. So does a `Box<dyn Error + Send + Sync>` of another library.
///
/// ```
/// use tryworks_base::Error;
/// let error = Error::limit("max_result_bytes", 10, "12 bytes of results", "collect less, or save to files");
/// assert!(error.to_string().starts_with("limit max_result_bytes (10)"));
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// A function of the user's returned an error or panicked.
    User(Box<UserFault>),
    /// The input is not what the source expects.
    Input {
        /// The file, or the name of the source.
        path: String,
        /// The byte at which it is wrong, where that is known.
        offset: Option<u64>,
        /// What is wrong there.
        message: String,
        /// The call that reads it, where it is known.
        site: Option<Site>,
    },
    /// The program asks for something that cannot be planned.
    Plan {
        /// What, and what to do instead.
        message: String,
        /// The call that asked for it.
        site: Site,
    },
    /// The output of a map task could not be read: it was lost, or its checksum does not match.
    Fetch {
        /// The exchange that the block belongs to.
        exchange: ExchangeId,
        /// The map partition that made it.
        map: u32,
        /// What the reader reported.
        message: String,
    },
    /// A limit was reached.
    Limit {
        /// The name of the limit, as in the settings.
        name: String,
        /// Its value.
        value: u64,
        /// What did not fit.
        needed: String,
        /// What would help.
        advice: String,
    },
    /// The file system refused: it is full, forbids it, or its disk is broken.
    Storage {
        /// What was being done.
        doing: String,
        /// The file or directory.
        path: String,
        /// What the system said.
        message: String,
    },
    /// A process of the cluster died or was cut off, and its work could not be recomputed.
    Lost {
        /// Which, and how it went.
        what: String,
        /// What is known of its end: its last output, the most memory it held.
        details: String,
    },
    /// The cluster could not be reached, or refused.
    Cluster {
        /// What does not work.
        message: String,
        /// What to do.
        advice: String,
    },
    /// A type of the program's breaks what its traits promise: its values do not come back from their bytes, or its
    /// order is not total. Doing the same again would not help, so nothing is retried.
    Type {
        /// The type.
        name: String,
        /// What it does, with the field and the attribute of serde's where they are known.
        message: String,
        /// What to do about it.
        advice: String,
        /// The call whose items are of this type, where it is known.
        site: Option<Site>,
    },
    /// A setting has no meaning.
    Setting {
        /// The name of the environment variable.
        name: String,
        /// What is wrong with its value, and what its form is.
        message: String,
    },
    /// An error that the program itself met between its jobs, and that `?` converted to this type.
    Program {
        /// The message of the error, and of those that caused it.
        message: String,
        /// Where the program met it.
        site: Site,
    },
    /// The job was cancelled.
    Cancelled,
    /// The context was stopped before or during the call.
    Stopped,
    /// A bug in Tryworks.
    Bug(String),
}

/// A failure of user code, with where it happened.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct UserFault {
    /// The message of the error or of the panic.
    pub message: String,
    /// True for a panic, false for a returned error.
    pub panicked: bool,
    /// The operator whose function failed, such as `map`.
    pub operator: String,
    /// The call of that operator in the program.
    pub site: Site,
    /// The line in the user's code that panicked or made the error.
    pub source: Option<Site>,
    /// Where the task ran.
    pub place: TaskSite,
    /// The engine and machine, if it ran in another process.
    pub engine: Option<String>,
    /// How often the task was tried in all.
    pub attempts: u32,
    /// The stack of the panic, when `RUST_BACKTRACE` asks for one.
    pub backtrace: Option<String>,
}

/// A place in the program's source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// The file, as the compiler names it.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl Site {
    /// The place of the call to the function that calls this one.
    #[track_caller]
    pub fn caller() -> Self {
        Location::caller().into()
    }
}

impl From<&'static Location<'static>> for Site {
    fn from(at: &'static Location<'static>) -> Self {
        Site { file: at.file(), line: at.line(), column: at.column() }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Site {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.file, self.line, self.column).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Site {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (file, line, column) = <(String, u32, u32)>::deserialize(from)?;
        Ok(Site { file: crate::intern(&file), line, column })
    }
}

/// Where a task ran. What runs outside of tasks has a place with zero tries: for example, what the driver does with the
/// results of partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TaskSite {
    /// The job, counted by its context.
    pub job: u64,
    /// The stage in the job.
    pub stage: u32,
    /// The logical partition.
    pub partition: u32,
    /// The launch, by a number that is unique in the context or cluster.
    pub attempt: u64,
    /// How often the task had been tried, this time included; zero outside of tasks.
    pub tries: u32,
}

impl fmt::Display for TaskSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}, stage {}, partition {}, attempt {}", self.job, self.stage, self.partition, self.tries)
    }
}

impl Error {
    /// An error of the plan, at the place that called the caller.
    #[track_caller]
    pub fn plan(message: impl Into<String>) -> Self {
        Error::Plan { message: message.into(), site: Site::caller() }
    }

    /// An error of the input.
    pub fn input(path: impl fmt::Display, offset: Option<u64>, message: impl fmt::Display) -> Self {
        Error::Input { path: path.to_string(), offset, message: message.to_string(), site: None }
    }

    /// A limit that was reached: its name, its value, what was needed, what would help.
    pub fn limit(name: &str, value: u64, needed: impl Into<String>, advice: impl Into<String>) -> Self {
        Error::Limit { name: name.into(), value, needed: needed.into(), advice: advice.into() }
    }

    /// Adds the call to the error, if the code that met it did not know the call.
    #[must_use]
    pub fn at(self, call: Site) -> Self {
        match self {
            Error::Type { name, message, advice, site } => {
                Error::Type { name, message, advice, site: site.or(Some(call)) }
            }
            Error::Input { path, offset, message, site } => {
                Error::Input { path, offset, message, site: site.or(Some(call)) }
            }
            other => other,
        }
    }

    /// The same for a type that is to blame for an error of another type.
    #[must_use]
    pub fn blaming(self, type_name: &str) -> Self {
        match self {
            Error::Type { message, advice, site, .. } => Error::Type { name: type_name.into(), message, advice, site },
            other => other,
        }
    }

    /// The call `op` found that the order of the keys of type `K` contradicts itself.
    #[cold]
    pub fn not_total<K: ?Sized>(op: &Op) -> Self {
        Error::Type {
            name: std::any::type_name::<K>().into(),
            message: format!("cannot be ordered: `{}` found that its order is not total", op.name),
            advice: "let its `Ord` agree with itself for every three values, and `PartialOrd` with `Ord`; floats are \
                     ordered by `total(x)`"
                .into(),
            site: Some(op.site),
        }
    }

    /// The call `op` found that keys of type `K` are equal at one time and not at another.
    #[cold]
    pub fn not_equal<K: ?Sized>(op: &Op) -> Self {
        Error::unequal_keys(std::any::type_name::<K>(), op)
    }

    /// The part of [`not_equal`](Error::not_equal) that is compiled once, not for each type of keys.
    #[cold]
    #[inline(never)]
    fn unequal_keys(name: &str, op: &Op) -> Self {
        Error::Type {
            name: name.into(),
            message: format!("cannot be a key: `{}` found two that are equal at one time and not at another", op.name),
            advice: "let its `Eq` and `Hash` depend on its fields alone, and be the same whichever comes first".into(),
            site: Some(op.site),
        }
    }

    /// The cluster could not be reached, or refused, and what to do.
    pub fn cluster(message: impl fmt::Display, advice: impl fmt::Display) -> Self {
        Error::Cluster { message: message.to_string(), advice: advice.to_string() }
    }

    /// A refusal of the file system.
    pub fn storage(doing: impl Into<String>, path: impl AsRef<std::path::Path>, error: &std::io::Error) -> Self {
        Error::Storage { doing: doing.into(), path: path.as_ref().display().to_string(), message: error.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::User(fault) => fault.fmt(f),
            Error::Input { path, offset, message, site } => {
                f.write_str(path)?;
                offset.map_or(Ok(()), |offset| write!(f, ", byte {offset}"))?;
                write!(f, ": {message}")?;
                site.map_or(Ok(()), |site| write!(f, "\n  at {site}"))
            }
            Error::Plan { message, site } => write!(f, "{message}\n  at {site}"),
            Error::Fetch { exchange, map, message } => {
                write!(f, "the output of map partition {map} of exchange {exchange} cannot be read: {message}")
            }
            Error::Limit { name, value, needed, advice } => {
                write!(f, "limit {name} ({value}) reached: {needed}\n  what would help: {advice}")
            }
            Error::Storage { doing, path, message } => write!(f, "{doing} failed at {path}: {message}"),
            Error::Lost { what, details } if details.is_empty() => f.write_str(what),
            Error::Lost { what, details } => write!(f, "{what}\n  {}", details.trim_end().replace('\n', "\n  ")),
            Error::Cluster { message, advice } => write!(f, "{message}\n  what to do: {advice}"),
            Error::Type { name, message, advice, site } => {
                write!(f, "the type `{name}` {message}\n  what to do: {advice}")?;
                site.map_or(Ok(()), |site| write!(f, "\n  at {site}"))
            }
            Error::Setting { name, message } => write!(f, "the environment variable {name} {message}"),
            Error::Program { message, site } => write!(f, "{message}\n  in {site}"),
            Error::Cancelled => f.write_str("the job was cancelled"),
            Error::Stopped => f.write_str("the context is stopped: no job can run on it any more; make a new context"),
            Error::Bug(message) => write!(f, "a bug in Tryworks: {message}\n  please report it"),
        }
    }
}

impl fmt::Display for UserFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.panicked { "panicked" } else { "failed" };
        write!(f, "`{}` {how}: {}", self.operator, self.message)?;
        if let Some(source) = self.source {
            write!(f, "\n  in {source}")?;
        }
        write!(f, "\n  operator `{}` called at {}", self.operator, self.site)?;
        match (self.place.tries, &self.engine) {
            // No task has run there.
            (0, None) => f.write_str("\n  in the driver, which joins the results of the partitions")?,
            (0, Some(_)) => f.write_str("\n  before the first task of its stage")?,
            _ => write!(f, "\n  {}", self.place)?,
        }
        if let Some(engine) = &self.engine {
            write!(f, ", on {engine}")?;
        }
        if self.attempts > 1 {
            write!(f, "; failed {} times", self.attempts)?;
        }
        if let Some(backtrace) = &self.backtrace {
            write!(f, "\n{backtrace}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for UserFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
