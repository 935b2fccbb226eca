//! What a process keeps outside its memory: spill files, blocks for other processes to read, programs.
//!
//! [`spill`] is what a host gives to operators; [`blocks`] are what one process leaves for others to read; [`programs`] are the
//! executables of drivers, by their hashes, and [`program`] says what this process is itself.
//!
//! This crate knows bytes, files and frames, not stages and not datasets.

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
