//! Files that are read, whatever their format: which files there are, how they are split, and their bytes.
//!
//! `paths` says what the program asks for. `list` finds the files, with `patterns` for globs and `saved` for
//! directories that jobs save to. `splits` divides them
//! among partitions. `bytes` reads them, through `unpack` where they are compressed. `shipped` has the files that tasks
//! on other machines get from the driver.

mod bytes;
mod compression;
mod list;
mod paths;
mod patterns;
mod plain;
pub(crate) mod saved;
mod shipped;
mod splits;
mod unpack;

pub use paths::Paths;
pub use shipped::Shipped;

pub(crate) use bytes::Bytes;
pub(crate) use list::ListedFile;
pub(crate) use plain::Plain;
pub(crate) use shipped::unseen;
pub(crate) use splits::{SplitOptions, Splits};
