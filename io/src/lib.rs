//! The gate and the cellar of Tryworks: sources, sinks and spill files.
//!
//! This crate knows bytes, files and frames, not stages. Sources implement
//! [`Source`](tryworks_core::source::Source); spill files are what a [`Host`](tryworks_core::host::Host) gives to the
//! operators of `core`.

pub mod spill;
pub mod text;
