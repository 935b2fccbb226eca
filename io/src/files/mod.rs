//! Files that are read, whatever is in them: which there are, how they are divided, and their bytes.
//!
//! `paths` says what is asked for, and `list` which files that is, by `patterns` where it is asked for by globs; `splits`
//! divides them among partitions; `bytes` reads them, by `unpack` where they are compressed; `shipped` are files that
//! tasks on other machines get from the driver.

mod bytes;
mod compression;
mod list;
mod paths;
mod patterns;
mod shipped;
mod splits;
mod unpack;

pub use paths::Paths;
pub use shipped::Shipped;

pub(crate) use bytes::{Bytes, Plain};
pub(crate) use list::ListedFile;
pub(crate) use shipped::unseen;
pub(crate) use splits::{SplitOptions, Splits};
