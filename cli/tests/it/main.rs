//! The executable as people use it: what it says, how it ends, and what it leaves.

mod clean;
mod cluster;
mod home;
mod usage;
#[path = "../rig/wait.rs"]
mod wait;
