//! Sources and sinks: how datasets are read and written.
//!
//! [`Sources`] are the methods by which a context reads. [`files`] has what all formats of files share, [`places`] where
//! output goes; [`text`] and [`records`] are formats; [`rows`] are inputs without files.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod files;
pub mod places;
pub mod records;
pub mod rows;
mod sources;
pub mod text;

pub use sources::{Input, Sources};
