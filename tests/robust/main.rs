//! What must hold whatever happens: the same answers, within the memory there is, and nothing left behind.

mod child;
mod codec;
mod forked;
mod lost;
mod once;
mod out_of_core;
mod pipelines;
mod resident;
mod same_answers;
mod shipping;
mod small_disks;
mod spilling;
mod support;

/// What a task tells when it is in the middle of a stage: nobody is there to do something about it.
fn event(_: &str) {}
