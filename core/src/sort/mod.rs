//! Sorting by ranges: map tasks leave sorted runs and samples of their keys, one task picks the bounds from the
//! samples, and readers merge their range of every run.
//!
//! Samples are taken by row number, before the rows are cut into runs, so that the bounds do not depend on memory.

mod bounds;
mod merge;
mod run;
mod unsorted;

pub(crate) use bounds::{Bounds, BoundsStage};
pub(crate) use merge::Merge;
pub(crate) use run::{RunBlock, RunsStage};
