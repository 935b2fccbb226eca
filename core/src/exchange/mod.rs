//! Exchanges: rows leave map tasks in buckets and are read by bucket, in the order of the map tasks. `README.md` in this
//! folder follows a row through them.
//!
//! A hash exchange cuts finer than its readers need: a reader's partition is a run of *hash sub-partitions*, read one
//! after another, so that a table for one of them stays small. The cut is a function of the number of readers alone,
//! and the order in a bucket is that of the map tasks, so what a reader sees depends on neither memory nor time.

mod aggregate;
mod batch;
mod block;
mod by_map;
mod combine;
mod fold;
mod grouped;
mod hash;
mod keep;
mod keyed;
mod read;
mod running_fold;
mod scatter;
mod spool;
mod table;
mod write;

pub use aggregate::Aggregate;
pub(crate) use block::{BlockKind, decode_rows, encode_rows, join_rows};
pub(crate) use fold::floor;
pub use grouped::Grouped;
pub(crate) use hash::{Buckets, hash_of};
pub(crate) use keyed::{default_readers, no_partitions};
pub(crate) use read::{Opened, Rows, Shuffled, Side, lost};
pub(crate) use spool::{Spool, Spooled};
pub(crate) use table::Table;
pub(crate) use write::{BucketWriter, chunk_bytes, unless_failed};
