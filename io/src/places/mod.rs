//! Places: where what is saved appears.

mod directory;

pub use directory::{OutputDir, PartFile, SUCCESS, part_name};

pub(crate) use directory::is_half_saved;
