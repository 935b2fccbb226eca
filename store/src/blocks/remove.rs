//! Removes blocks from the disk, on a thread of its own: a file system may take long over one file, and does over
//! millions. Callers that delete don't wait for it. Deleted blocks count until they are gone.

use super::id::BlockId;
use super::index::Blocks;
use super::owner::remove_blocks;
use super::store::Shared;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::JoinHandle;
use tryworks_base::ids::OutputId;

/// How many blocks are removed from the index before its lock is released for others.
const STEP: usize = 256;

/// What to remove.
pub(super) enum Removal {
    /// The file of a deleted block that has no reader any more.
    File { id: BlockId, bytes: u64 },
    /// All blocks of an output that cannot be found any more.
    Output { output: OutputId, blocks: Blocks },
    /// What an attempt may have written of a block that was never added.
    Unadded(BlockId),
    /// The blocks of a dead owner.
    Left(PathBuf),
    /// Notifies a caller that waits until all earlier removals are done.
    Tell(SyncSender<()>),
    /// The store is closed: what is left disappears with its directory.
    End,
}

/// Starts the thread.
pub(super) fn start(shared: Arc<Shared>, removals: Receiver<Removal>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("tryworks-unlink".into()).spawn(move || {
        for removal in removals {
            match removal {
                Removal::End => return,
                Removal::Tell(who) => drop(who.send(())),
                _ if shared.is_closed() => {}
                Removal::File { id, bytes } => shared.unlink(&id, bytes),
                Removal::Output { output, blocks } => remove_all(&shared, output, blocks),
                Removal::Left(dir) => {
                    // What remains is removed with the directory of the store, or by the next owner.
                    let _ = remove_blocks(&dir, || !shared.is_closed());
                }
                Removal::Unadded(id) => {
                    // Usually neither file exists.
                    let _ = fs::remove_file(id.unsealed_in(&shared.dir));
                    let _ = fs::remove_file(id.path_in(&shared.dir));
                }
            }
        }
    })
}

fn remove_all(shared: &Shared, output: OutputId, blocks: Blocks) {
    let mut blocks = blocks.into_iter();
    while !shared.is_closed() {
        let step: Vec<_> = blocks.by_ref().take(STEP).collect();
        if step.is_empty() {
            return;
        }
        shared.index().forget(output, &step);
        // Blocks with readers disappear with their last reader.
        for block in step.into_iter().filter_map(|(_, block)| Arc::into_inner(block)) {
            block.unlink();
        }
    }
}
