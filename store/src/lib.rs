//! What a process keeps outside its memory: spill files, blocks for other processes, and programs.
//!
//! [`spill`] is what a host gives to operators. [`blocks`] are what one process leaves for others to read. [`programs`]
//! are the executables of drivers, by their hashes, and [`program`] says which program this process runs.
//!
//! This crate knows bytes, files and frames, but no stages and no datasets.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "cluster")]
pub mod blocks;
mod index;
#[cfg(feature = "cluster")]
pub mod program;
#[cfg(feature = "cluster")]
pub mod programs;
#[cfg(feature = "cluster")]
pub mod running;
pub mod spill;
