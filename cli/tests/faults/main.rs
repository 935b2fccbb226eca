//! What becomes of jobs when processes, blocks and disks fail under them: the cluster is real, and so are the failures.

#[path = "../rig/mod.rs"]
mod rig;

mod blocks;
mod caches;
mod ends;
mod engines;
mod tasks;
