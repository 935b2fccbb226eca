//! The operators, one file each: what an operator does to an item or a partition, and its methods.

mod cache;
mod coalesce;
mod distinct;
mod each;
mod filter;
mod flat_map;
mod flat_map_into;
mod from_fn;
mod group_by_key;
mod join;
mod key_by;
mod keys;
mod map;
mod map_partitions;
mod map_values;
mod reduce_by_key;
mod repartition;
mod sample;
mod sort_by_key;
mod try_filter;
mod try_flat_map;
mod try_map;
mod union;
mod values;
mod zip;

pub use cache::StorageLevel;
pub use flat_map_into::Emitter;
pub use from_fn::{BEGIN_WITH, from_fn};
pub use map_partitions::Items;
