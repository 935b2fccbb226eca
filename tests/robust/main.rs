//! What must hold in all conditions: the same answers, within the available memory, and nothing left behind.

mod child;
mod codec;
mod few;
mod forked;
mod gathered;
mod large_rows;
mod lost;
mod once;
mod out_of_core;
mod resident;
mod same_answers;
mod shipping;
mod small_disks;
mod spilling;
mod support;
