//! Messages from workers: finished tasks, questions and output.

use super::deaths::killed;
use super::window::{LAST_WORDS, Piece};
use super::{Assigned, BlockOrder, Engine, NotAdded, Order};
use std::collections::BTreeMap;
use tryworks_base::ids::{AttemptId, GlobalCacheId, OutputId};
use tryworks_base::{Error, codec};
use tryworks_protocol::engine::{CodeId, FromEngine, HeldBlock, HeldResult, ResultPart};
use tryworks_protocol::output::Written;
use tryworks_protocol::worker::FromWorker;
use tryworks_scheduler::{Failure, Partitions, Report, Time};
use tryworks_store::blocks::Sealed;

/// How many bytes of output are kept for the next hub, which may have missed them.
const SAID_AGAIN: usize = 1 << 20;

/// A task that finished, and is reported once its blocks are added.
pub(super) struct Adding {
    pub(super) assigned: Assigned,
    /// The partitions of the blocks.
    partitions: Partitions,
    report: Report,
    results: Vec<(u32, ResultPart)>,
    kept: Vec<(GlobalCacheId, u32)>,
    span: (u64, u64),
    /// Its blocks were deleted before the store reported that they were added.
    deleted: bool,
}

impl Adding {
    /// Whether its blocks belong to this output.
    pub(super) fn makes(&self, output: OutputId) -> bool {
        self.assigned.code == CodeId::Output(output)
    }
}

impl Engine {
    /// Takes in a message from a worker that has said hello.
    pub fn worker_says(&mut self, now: Time, number: u64, message: FromWorker) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        let (session, ending) = (worker.session, worker.ending);
        worker.heard = now;
        if !std::mem::replace(&mut worker.serves, true)
            && let Some(session) = self.sessions.get_mut(&session)
        {
            session.failed_starts = 0;
        }
        match message {
            FromWorker::Beat => {}
            FromWorker::Done { attempt, report, blocks, results, kept, span } => {
                let Some(assigned) = self.take_assigned(number, attempt) else {
                    // This hub did not launch the task. Nobody else would delete the blocks that it sealed.
                    return blocks.into_iter().for_each(|(output, partition, _)| {
                        let partitions = [partition].into_iter().collect();
                        self.blocks(BlockOrder::Discard { attempt, output, partitions });
                    });
                };
                // The worker's session is over. It may have come back by now with another worker.
                if ending {
                    self.undo(&assigned);
                    return self.for_hub.extend((!assigned.orphan).then(|| killed(attempt)));
                }
                let partitions = blocks.iter().map(|(_, partition, _)| *partition).collect();
                self.done(Adding { assigned, partitions, report, results, kept, span, deleted: false }, blocks);
            }
            FromWorker::Failed { attempt, failure, span } => {
                let Some(assigned) = self.take_assigned(number, attempt) else { return };
                // A task that was stopped before it began has made nothing.
                if span != (0, 0) {
                    self.undo(&assigned);
                }
                if !assigned.orphan {
                    self.for_hub.push(FromEngine::Failed { attempt, failure, span });
                }
            }
            FromWorker::Unreadable { output, why } => self.for_hub.push(FromEngine::Unreadable { output, why }),
            FromWorker::GetFile { number: question, shipment } => {
                let address = self.sessions.get(&session).and_then(|session| session.address.clone());
                let order = Order::GetFile { worker: number, number: question, session, shipment, address };
                self.orders.push(order);
            }
            FromWorker::Fetch { number: question, wanted } => {
                let mut stores = BTreeMap::new();
                for engine in wanted.iter().map(|wanted| wanted.engine) {
                    if let Some(store) = self.stores.get(&engine).filter(|_| !stores.contains_key(&engine)) {
                        stores.insert(engine, store.clone());
                    }
                }
                let Some(here) = self.id else { return };
                self.orders.push(Order::Prefetch { worker: number, number: question, wanted, here, stores });
            }
        }
    }

    fn take_assigned(&mut self, worker: u64, attempt: AttemptId) -> Option<Assigned> {
        let assigned = &mut self.workers.get_mut(&worker)?.assigned;
        let at = assigned.iter().position(|assigned| assigned.attempt == attempt)?;
        assigned.remove(at)
    }

    /// Deletes all that a task has made or may have made, because it failed or is no longer wanted. Some of its blocks
    /// may be sealed, and others not.
    pub(super) fn undo(&mut self, assigned: &Assigned) {
        let output = match assigned.code {
            CodeId::Output(output) => output,
            CodeId::Results(job) => tryworks_protocol::results_of(job),
        };
        let attempt = assigned.attempt;
        self.made.remove(attempt);
        self.results.remove(&attempt);
        self.blocks(BlockOrder::Delete { attempt });
        self.blocks(BlockOrder::Discard { attempt, output, partitions: assigned.partitions.clone() });
    }

    fn done(&mut self, adding: Adding, blocks: Vec<(OutputId, u32, Sealed)>) {
        let Adding { assigned, partitions, report, kept, span, .. } = &adding;
        let (attempt, span) = (assigned.attempt, *span);
        if let Some(known) = self.sessions.get_mut(&assigned.session) {
            known.kept.extend(kept.iter().copied());
        }
        // An earlier hub launched it. It finished too late to be in the offer to this hub.
        if assigned.orphan {
            return self.undo(assigned);
        }
        // An engine that takes a block over needs this report, too.
        let mut note = Vec::new();
        if let CodeId::Output(_) = assigned.code
            && let Err(error) = codec::encode(&(partitions, report), &mut note)
        {
            self.undo(assigned);
            let failure = Failure::Final(error);
            return self.for_hub.push(FromEngine::Failed { attempt, failure, span });
        }
        if blocks.is_empty() {
            return self.report(adding);
        }
        self.adding.insert(attempt, adding);
        self.blocks(BlockOrder::Add { attempt, blocks, note: note.into() });
    }

    /// The blocks of a task were added, or could not be.
    pub fn added(&mut self, attempt: AttemptId, outcome: Result<(), NotAdded>) {
        let Some(adding) = self.adding.remove(&attempt) else { return };
        match outcome {
            _ if adding.assigned.orphan => self.undo(&adding.assigned),
            Ok(()) => self.report(adding),
            Err(NotAdded { error, file }) => {
                self.undo(&adding.assigned);
                // A sealed file that is gone or damaged by now is treated like one that is lost later: the task runs
                // again. A limit or an error of the disk fails the task for good.
                let again = file && !matches!(error, Error::Limit { .. });
                let failure = if again { Failure::Killed } else { Failure::Final(error) };
                self.for_hub.push(FromEngine::Failed { attempt, failure, span: adding.span });
            }
        }
    }

    /// Tells the hub that a task finished. All of its blocks are in the store.
    fn report(&mut self, adding: Adding) {
        let Adding { assigned, partitions, report, results, kept, span, deleted } = adding;
        let (attempt, session) = (assigned.attempt, assigned.session);
        self.note_late(attempt);
        match assigned.code {
            _ if deleted => {}
            CodeId::Output(output) => {
                self.made.insert(HeldBlock { output, attempt, partitions, report: report.clone() });
            }
            CodeId::Results(job) => {
                self.results.insert(attempt, HeldResult { job, session, attempt, parts: results.clone() });
            }
        }
        self.for_hub.push(FromEngine::Done { attempt, report, results, kept, span });
    }

    /// Marks tasks whose blocks shall be deleted as soon as they are added.
    pub(super) fn unwanted(&mut self, which: impl Fn(&Adding) -> bool) {
        let mut gone = Vec::new();
        for (attempt, adding) in self.adding.iter_mut().filter(|(_, adding)| which(adding)) {
            adding.deleted = true;
            gone.push(*attempt);
        }
        for attempt in gone {
            self.blocks(BlockOrder::Delete { attempt });
        }
    }

    /// A worker wrote something.
    pub fn wrote(&mut self, number: u64, piece: Piece) {
        let (Some(engine), Some(worker)) = (self.id, self.workers.get_mut(&number)) else { return };
        let Piece { stderr, offset, bytes, cut } = piece;
        worker.last_words.extend_from_slice(&cut);
        worker.last_words.extend_from_slice(&bytes);
        let surplus = worker.last_words.len().saturating_sub(LAST_WORDS);
        worker.last_words.drain(..surplus);
        let attempt = match worker.assigned.len() {
            1 => worker.assigned.front().map(|assigned| assigned.attempt),
            _ => None,
        };
        let name = self.setup.name.clone();
        let written = Written { engine, name, run: worker.run, worker: worker.pid, stderr, offset, attempt, bytes };
        let session = worker.session;
        self.recent_bytes += written.size();
        self.recent.push_back((session, written.clone()));
        while self.recent_bytes > SAID_AGAIN
            && let Some((_, oldest)) = self.recent.pop_front()
        {
            self.recent_bytes -= oldest.size();
        }
        self.for_hub.push(FromEngine::Wrote { session, written });
    }
}
