//! The actions, one file each: what a task does with a partition, and how the driver merges the parts.

mod aggregate;
mod collect;
mod count;
mod fold;
mod for_each;
mod job;
mod reduce;
mod save;
mod sum;
mod take;
mod take_ordered_by;

pub use job::{Background, Job};
pub use save::ToDriver;
