//! Names of blocks. Anyone who knows a block's name can read the block, so names cannot be guessed and are not printed.

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};
use tryworks_base::ids::{AttemptId, OutputId};
use tryworks_base::{Error, Result};

/// The end of the name of a block that is being written.
const UNSEALED: &str = ".part";

/// The secret of a store, from which the names of its blocks are derived. Anyone who has it can read all of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockKey([u8; 32]);

impl BlockKey {
    /// A new key, from the system's randomness.
    pub(super) fn random() -> Result<Self> {
        let mut key = [0; 32];
        // Up to 256 bytes come all at once or not at all.
        match getrandom(&mut key, GetRandomFlags::empty()) {
            Ok(_) => Ok(BlockKey(key)),
            Err(error) => Err(Error::storage("making a key", "the system's randomness", &io::Error::from(error))),
        }
    }

    /// The key with these bytes. A store makes its own from the system's randomness; a simulated store is given one.
    ///
    /// ```
    /// use tryworks_base::ids::{AttemptId, OutputId};
    /// use tryworks_store::blocks::BlockKey;
    ///
    /// let name = || BlockKey::new([7; 32]).id(OutputId(1), 2, AttemptId(3));
    /// assert_eq!(name(), name());
    /// ```
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        BlockKey(secret)
    }

    /// The name of the block that `attempt` made of `partition` of `output`.
    pub fn id(&self, output: OutputId, partition: u32, attempt: AttemptId) -> BlockId {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&output.0.to_le_bytes()).update(&partition.to_le_bytes()).update(&attempt.0.to_le_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        BlockId(id)
    }
}

impl fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockKey(..)")
    }
}

/// The name of a block. Its text shows only the beginning: enough to tell blocks apart in a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockId([u8; 16]);

impl BlockId {
    /// The path of the sealed file in the directory of its store.
    pub fn path_in(&self, dir: &Path) -> PathBuf {
        dir.join(self.hex(16))
    }

    /// The path of the file while it is being written.
    pub(super) fn unsealed_in(&self, dir: &Path) -> PathBuf {
        dir.join(self.hex(16) + UNSEALED)
    }

    /// How an error describes where the block is.
    pub(super) fn shown_in(&self, dir: &Path) -> String {
        shown(&self.path_in(dir))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn hex(&self, bytes: usize) -> String {
        self.0[..bytes].iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.hex(4))
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockId({self})")
    }
}

/// The path of a block as an error shows it: with the beginning of the name alone.
pub(super) fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.char_indices().nth(8) {
        Some((end, _)) => format!("{}…", path.with_file_name(&name[..end]).display()),
        None => path.display().to_string(),
    }
}

/// True if a file of this name in the directory of a store is a block, sealed or not.
pub(super) fn is_name(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let name = name.strip_suffix(UNSEALED).unwrap_or(name);
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_name_and_the_key_count() {
        let (one, two) = (BlockKey::random().unwrap(), BlockKey::random().unwrap());
        let ids = [
            one.id(OutputId(1), 2, AttemptId(3)),
            one.id(OutputId(2), 2, AttemptId(3)),
            one.id(OutputId(1), 3, AttemptId(3)),
            one.id(OutputId(1), 2, AttemptId(4)),
            two.id(OutputId(1), 2, AttemptId(3)),
        ];
        assert!((1..ids.len()).all(|i| !ids[..i].contains(&ids[i])));
        assert_eq!(one.id(OutputId(1), 2, AttemptId(3)), one.clone().id(OutputId(1), 2, AttemptId(3)));
    }

    #[test]
    fn no_text_shows_a_key_or_a_whole_name() {
        let key = BlockKey([0xab; 32]);
        assert_eq!(format!("{key:?}"), "BlockKey(..)");
        let id = key.id(OutputId(1), 2, AttemptId(3));
        let whole = id.path_in(Path::new("")).to_string_lossy().into_owned();
        assert!(whole.len() == 32 && is_name(OsStr::new(&whole)) && is_name(id.unsealed_in(Path::new("")).as_os_str()));
        let texts =
            [format!("{id:?}"), id.to_string(), id.shown_in(Path::new("/dir")), shown(&id.unsealed_in("/".as_ref()))];
        for text in texts {
            assert!(text.contains(&whole[..8]) && !text.contains(&whole[8..16]), "{text}");
        }
        for other in
            ["lock", &whole[1..], &whole.to_uppercase(), &format!("{whole}.bak"), "../../../../../etc/passwd0000000"]
        {
            assert!(!is_name(OsStr::new(other)), "{other}");
        }
    }
}
