//! Taking over the blocks of an engine that leaves.

use super::prefetch::Prefetcher;
use std::path::Path;
use tokio::task::spawn_blocking;
use tryworks_base::{Error, Result, codec};
use tryworks_protocol::blocks;
use tryworks_protocol::engine::{HeldBlock, StorePlace};
use tryworks_protocol::worker::{BlockPart, Piece, Wanted};
use tryworks_scheduler::{Move, Partitions, Report};
use tryworks_store::blocks::{BlockCopy, BlockId, BlockStore, Sealed, link_block};

impl Prefetcher {
    /// Copies the blocks of a launch from another engine. Returns what that engine knew of them.
    pub(super) async fn take_over(&self, from: Option<&StorePlace>, what: &Move) -> Result<HeldBlock> {
        let from =
            from.ok_or_else(|| Error::cluster("the engine that leaves is not known here", "it is recomputed"))?;
        // An earlier block of the same name may be waiting to be unlinked.
        let own = self.own.0.clone();
        on_disk(move || {
            own.wait_for_removals();
            Ok(())
        })
        .await?;
        let mut held = None;
        for partition in what.partitions.iter() {
            let theirs = from.key.id(what.output, partition, what.made_by);
            let whole = [(theirs, BlockPart::Note), (theirs, BlockPart::Contents)];
            let wanted = whole.map(|(block, part)| Wanted { engine: what.from, block, part }).to_vec();
            let mut pieces = self.ask(from, wanted).await?.into_iter();
            let (Some(Piece::Note(note)), Some(contents)) = (pieces.next(), pieces.next()) else {
                return Err(Error::cluster("a block to be taken over is no longer there", "it is recomputed"));
            };
            if held.is_none() {
                held = Some(codec::decode::<(Partitions, Report)>(&note)?.0);
            }
            self.take_in(from, what, partition, theirs, contents, note).await?;
        }
        let nothing = || Error::Bug("no partition was to be taken over".into());
        let (partitions, report) = held.ok_or_else(nothing)?;
        Ok(part_of(what, &partitions, report))
    }

    async fn take_in(
        &self,
        from: &StorePlace,
        what: &Move,
        partition: u32,
        theirs: BlockId,
        contents: Piece,
        note: Vec<u8>,
    ) -> Result<()> {
        let store: &BlockStore = &self.own.0;
        let ours = store.key().id(what.output, partition, what.made_by);
        // The block may have been taken over before.
        if store.get(ours).is_some() {
            return Ok(());
        }
        let own = store.clone();
        let sealed = match contents {
            Piece::Whole(bytes) => Sealed::Small(bytes.into()),
            // On the same machine a second link to the file is enough: sealed blocks never change.
            Piece::Table(_) if from.host == self.host => {
                let theirs = theirs.path_in(Path::new(&from.directory));
                on_disk(move || link_block(&own, ours, &theirs)).await?
            }
            Piece::Table(table) => {
                let mut copy = on_disk(move || BlockCopy::begin(&own, ours, table)).await?;
                while let Some(range) = copy.wanted() {
                    let part = BlockPart::Range { start: range.start, end: range.end };
                    let piece = self.ask_afar(from, &[(theirs, part)]).await?.into_iter().next();
                    let bytes = piece.map_or(Err("there is no answer".into()), blocks::range);
                    let lost = |why: String| Error::cluster(format!("taking over a block: {why}"), "it is recomputed");
                    let bytes = bytes.map_err(lost)?;
                    if bytes.len() as u64 != range.end - range.start {
                        return Err(lost("the number of bytes differs from what was asked for".into()));
                    }
                    copy = on_disk(move || copy.write(&bytes).map(|()| copy)).await?;
                }
                on_disk(move || copy.seal()).await?
            }
            Piece::Missing(why) => return Err(Error::cluster(why, "it is recomputed")),
            Piece::Range(_) | Piece::Note(_) => return Err(Error::Bug("a piece of another kind came".into())),
        };
        let (own, what) = (store.clone(), what.clone());
        on_disk(move || own.add(what.output, partition, what.made_by, sealed, note).map(drop)).await
    }
}

/// Runs work that may wait for a disk on another thread.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::Bug(error.to_string())))
}

/// The part of a launch's output that was taken over.
fn part_of(what: &Move, partitions: &Partitions, report: Report) -> HeldBlock {
    let reports = partitions.iter().zip(report.partitions);
    let moved = reports.filter(|(partition, _)| what.partitions.iter().any(|moved| moved == *partition));
    let (partitions, reports): (Vec<u32>, Vec<_>) = moved.unzip();
    HeldBlock {
        output: what.output,
        attempt: what.made_by,
        partitions: partitions.into_iter().collect(),
        report: Report { partitions: reports, bucket_bytes: report.bucket_bytes },
    }
}
