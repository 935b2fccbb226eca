//! The program of a session.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;

/// The program that workers run: the driver's own, with what the driver was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The hash of its bytes.
    pub id: [u8; 32],
    /// Its path, as the driver sees it.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its arguments, beginning with the name it was called by.
    pub arguments: Vec<String>,
    /// The part of its environment that workers get.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: String,
}
