//! Sorting by ranges: map tasks leave sorted runs and samples of their keys, one task picks the bounds from the
//! samples, and readers merge their range of every run.
//!
//! Samples are taken by row number, before the rows are cut into runs, so that the bounds do not depend on memory.
//!
//! Whatever a key's `Ord` says, each row is given out once, or the sort fails: both readers beside a bound cut each run
//! by the same search (`merge.rs`). A reader whose end lies before its beginning says that the order is not total, and
//! so does one that has cut elsewhere than its neighbour in this process (`Bounds::agrees`), or whose keys answer
//! otherwise when they are asked again. Only `Ord` is asked, never `PartialOrd`, which may say something else.

mod bounds;
mod in_order;
mod merge;
mod run;
mod unsorted;

pub(crate) use bounds::{Bounds, BoundsStage};
pub(crate) use in_order::in_order;
pub(crate) use merge::Merge;
pub(crate) use run::{RunBlock, RunsStage};
