//! The executable as people use it: what it says, how it ends, and what it leaves.

mod clean;
mod cluster;
mod home;
mod naming;
mod terminal;
mod trouble;
mod usage;
