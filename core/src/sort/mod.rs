//! Sorting by ranges: map tasks make sorted runs and samples of their keys. One task picks the bounds from the samples.
//! Each reader merges its range of every run.
//!
//! Samples are taken by row number, before rows are divided into runs, so that the bounds do not depend on memory. Of
//! large keys there are fewer samples, fewer entries in the indexes of runs, and fewer bounds.
//!
//! A merge reads one frame of each run at a time. If these do not fit in memory, it first merges neighbouring runs into
//! longer ones, in spill files.
//!
//! Whatever a key's `Ord` says, each row comes out once, or the sort fails. The readers on both sides of a bound cut
//! each run by the same search (`merge.rs`). A reader reports that the order is not total in three cases: its end lies
//! before its beginning; it has cut at other positions than its neighbour in this process (`Bounds::agrees`); or keys
//! give other answers when they are compared again. Sorting uses `Ord` only, never `PartialOrd`, which may give other
//! answers.

mod bounds;
mod in_order;
mod index;
mod merge;
mod run;
mod sampler;
mod unsorted;

pub(crate) use bounds::{Bounds, BoundsStage};
pub(crate) use in_order::in_order;
pub(crate) use merge::Merge;
pub(crate) use run::{RunBlock, RunsStage};
