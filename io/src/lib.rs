//! Sources and sinks: how datasets are read and written.
//!
//! [`Sources`] are the methods by which a context reads, [`text`] and [`rows`] what they read; [`sink`] writes part files, which
//! [`save`] asks for; [`shipped`] are files that tasks on other machines get from the driver.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod rows;
pub mod save;
pub mod shipped;
pub mod sink;
mod sources;
pub mod text;

pub use sources::Sources;
