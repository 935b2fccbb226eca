//! What happens to jobs when processes, blocks and disks fail under them: the cluster is real, and so are the failures.

#[path = "../../../tests/it/attributes.rs"]
mod attributes;
#[path = "../rig/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each group of tests uses its part of the rig")]
mod rig;

mod answers;
mod blocks;
mod caches;
mod callers;
mod chaos;
mod ends;
mod engines;
mod hung;
mod large;
mod memory;
mod output;
mod programs;
mod saves;
mod sources;
mod tasks;
mod twice;
mod types;
