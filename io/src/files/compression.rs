//! How a file is compressed.

use serde::{Deserialize, Serialize};
use std::path::Path;
use tryworks_base::Error;

/// How a file is compressed. Its first bytes say so, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::Plain,
        }
    }

    /// Whether this program can undo it.
    pub(super) fn is_known(self) -> bool {
        cfg!(feature = "zstd") || self != Compression::Zstd
    }

    /// The mistake of reading a file that is compressed so, where that is not known.
    pub(super) fn refused(self, path: &Path) -> Error {
        let message = "it is compressed with zstd, which this program was built without: build it with the feature `zstd` of \
                       `tryworks`, which is on by default, or unpack the file first";
        Error::input(path.display(), None, message)
    }
}
