//! The gate and the cellar of Tryworks: sources, sinks, blocks and spill files.
//!
//! This crate knows bytes, files and frames, not stages. [`Sources`] are the methods by which a context reads,
//! [`text`] and [`rows`] what they read; [`sink`] writes part files; [`shipped`] are files that tasks on other machines get from the driver; [`spill`] is what a
//! [`Host`](tryworks_core::host::Host) gives to the operators of `core`; [`blocks`] are what one process leaves for
//! others to read; [`outlet`] writes lines of ours for people; [`resident`] and [`program`] say how much memory this process has and what it is; [`paths`] looks at paths and [`size`] reads sizes
//! that people write; [`disk`] says what a full disk is asked for and has.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod blocks;
pub mod disk;
mod index;
pub mod outlet;
pub mod paths;
pub mod program;
pub mod resident;
pub mod rows;
pub mod save;
pub mod shipped;
pub mod sink;
pub mod size;
mod sources;
pub mod spill;
pub mod text;

pub use sources::Sources;

/// The directory of this crate's sources, as the places of panics name it.
pub const SOURCES: &str = file!().split_at(file!().len() - "lib.rs".len()).0;
