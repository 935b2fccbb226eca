//! Sources and sinks: how datasets are read and written.
//!
//! [`Sources`] has the methods by which a context reads. [`files`] has what all formats of files share, and [`places`]
//! says where output goes. [`text`] and [`records`] are formats; [`rows`] are inputs without files.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod files;
mod input;
pub mod places;
pub mod records;
pub mod rows;
mod sources;
pub mod text;

pub use input::Input;
pub use sources::Sources;
