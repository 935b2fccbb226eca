//! The actions, one file each: what a task does with a partition, and how the driver merges the parts.

mod aggregate;
mod collect;
mod collect_as_map;
mod count;
mod count_approx_distinct;
mod count_by_key;
mod count_by_value;
mod counted;
mod first_few;
mod fold;
mod for_each;
mod for_each_partition;
mod histogram;
mod job;
mod lookup;
mod min_by;
mod reduce;
mod reduce_by_key_locally;
mod save;
mod stats;
mod sum;
mod take;
mod take_ordered_by;
mod take_sample;
mod to_local_iterator;
mod top;

pub use histogram::Histogram;
pub use job::{Background, Job};
pub use save::ToDriver;
pub use to_local_iterator::LocalIterator;
