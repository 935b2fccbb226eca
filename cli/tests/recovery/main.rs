//! Hubs that are killed, drivers that go away, and jobs that continue: with real processes.

#[path = "../rig/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each group of tests uses its part of the rig")]
mod rig;

mod again;
mod answers;
mod away;
mod detached;
mod detached_saves;
mod drivers;
mod full;
mod hub;
mod kept;
mod saves;
mod shown;
