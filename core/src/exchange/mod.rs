//! Exchanges: map tasks write rows into buckets, and readers read them by bucket, in the order of the map tasks.
//! `README.md` in this folder follows a row through an exchange.
//!
//! A hash exchange has more buckets than readers. A reader's partition is a run of *hash sub-partitions*, which are
//! read one after another, so that the table for one of them stays small. The buckets depend on the number of readers
//! alone, and the order in a bucket is that of the map tasks. So what a reader sees depends on neither memory nor time.

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
mod maps;
mod read;
mod running_fold;
mod scatter;
mod shards;
mod spool;
mod table;
mod write;

pub use aggregate::{Aggregate, Merge, Merging};
pub(crate) use block::{BlockKind, decode_rows, encode_rows, join_rows};
pub(crate) use fold::{floor, undivided};
pub use grouped::Grouped;
pub(crate) use hash::{Buckets, hash_of};
pub(crate) use keyed::{KeyedSide, no_partitions};
pub(crate) use read::{Opened, Rows, Shuffled, Side, lost};
pub(crate) use spool::{Spool, Spooled, SpooledRows};
pub(crate) use table::Table;
pub(crate) use write::{BucketWriter, chunk_bytes, unless_failed};
