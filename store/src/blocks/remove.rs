//! Taking blocks off the disk, on a thread of its own: a file system may take long over one file, and does over millions.
//! Nobody who deletes waits for that; what was deleted counts until it is gone.

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

/// So many blocks are forgotten before somebody else may look into the index.
const STEP: usize = 256;

/// What is to go.
pub(super) enum Removal {
    /// The file of a deleted block that nobody reads any more.
    File { id: BlockId, bytes: u64 },
    /// All blocks of an output that cannot be found any more.
    Output { output: u64, blocks: Blocks },
    /// What may have been written of a block that was never added.
    Unadded(BlockId),
    /// The blocks of a dead owner.
    Left(PathBuf),
    /// Who waits until all that was asked for before is gone.
    Tell(SyncSender<()>),
    /// The store is closed: what is left goes with its directory.
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
                    // What stays is removed with the directory of the store, or by the next owner.
                    let _ = remove_blocks(&dir, || !shared.is_closed());
                }
                Removal::Unadded(id) => {
                    // Mostly neither is there.
                    let _ = fs::remove_file(id.unsealed_in(&shared.dir));
                    let _ = fs::remove_file(id.path_in(&shared.dir));
                }
            }
        }
    })
}

fn remove_all(shared: &Shared, output: u64, blocks: Blocks) {
    let mut blocks = blocks.into_iter();
    while !shared.is_closed() {
        let step: Vec<_> = blocks.by_ref().take(STEP).collect();
        if step.is_empty() {
            return;
        }
        shared.index().forget(output, &step);
        // Those that are read go with their last reader.
        step.into_iter().filter_map(|(_, block)| Arc::into_inner(block)).for_each(|block| block.unlink());
    }
}
