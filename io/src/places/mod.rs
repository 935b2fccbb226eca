//! Places: where saved files appear.

mod directory;

pub use crate::files::saved::SUCCESS;
pub use directory::{Directory, PartFile, Pending, part_name};

use crate::files::Paths;
use tryworks_base::{Error, Result};

/// The directory to save to, from a format's paths. `reading` lists the options that apply only to reading, and whether
/// each is set.
#[track_caller]
pub(crate) fn only_directory(paths: &Paths, format: &str, reading: &[(&str, bool)]) -> Result<Directory> {
    if let Some((option, _)) = reading.iter().find(|(_, is_set)| *is_set) {
        let message = format!("`{option}` says how {format} are read, and this saves them; leave it out");
        return Err(Error::plan(message));
    }
    match &paths.0[..] {
        [path] => Directory::new(path),
        paths => Err(Error::plan(format!("{format} are saved to one directory, and these are {} paths", paths.len()))),
    }
}
