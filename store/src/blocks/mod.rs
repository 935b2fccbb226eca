//! Blocks: what one map task leaves for an exchange, so that other processes can read it.
//!
//! A block is a sealed file of sequences of frames, with a table of contents at its end (`table` has the layout). A
//! worker writes it straight into the directory of its engine (`write`). Other workers of that machine map it. Workers
//! of other machines get its table and then ranges of its bytes (`open`, `segments`). The engine owns the directory: it
//! counts, serves and deletes blocks (`store`, `serve`, `remove`, `owner`), and takes over those of an engine that
//! leaves (`copy`). A process can ask for a block only by a name that cannot be guessed, never by a path (`id`).
//!
//! ```
//! use tryworks_base::frames::Frames;
//! use tryworks_base::ids::{AttemptId, OutputId};
//! use tryworks_store::blocks::{BlockStore, BlockWriter, OpenBlock};
//! # fn main() -> tryworks_base::Result<()> {
//! # let parent = tempfile::tempdir().unwrap();
//! let store = BlockStore::open(&parent.path().join("blocks"), None)?;
//! let id = store.key().id(OutputId(7), 0, AttemptId(1));
//!
//! let mut writer = BlockWriter::new(store.dir(), id, store.quota());
//! writer.sequence()?;
//! writer.frame(b"there she blows")?;
//! let sealed = writer.seal(b"one word per frame")?;
//! store.add(OutputId(7), 0, AttemptId(1), sealed, Vec::new())?;
//!
//! let block = OpenBlock::held(store.get(id).unwrap().held())?;
//! let mut scratch = Vec::new();
//! assert_eq!(block.head(), b"one word per frame");
//! assert_eq!(block.sequence(0)?.view(0, &mut scratch)?, b"there she blows");
//! # Ok(())
//! # }
//! ```

mod claim;
mod copy;
#[cfg(test)]
mod fuzz;
mod held;
mod id;
mod index;
mod landing;
mod map;
mod open;
mod owner;
mod remove;
mod segments;
mod serve;
mod store;
mod table;
mod write;

pub use claim::Claim;
pub use copy::{BlockCopy, link_block};
pub use held::{BlockInfo, Held};
pub use id::{BlockId, BlockKey};
pub use landing::Landing;
pub use open::{BlockSequence, OpenBlock};
pub use owner::sweep;
pub use serve::{MOST_AT_ONCE, Served};
pub use store::{BlockStore, Pin};
pub use write::{BlockWriter, Quota, SMALL, Sealed};
