//! What workers say: what they did, what they ask for, what they wrote.

use super::state::{Assigned, Engine, Order};
use crate::protocol::driver::Written;
use crate::protocol::engine::{CodeId, FromEngine, HeldBlock, HeldResult, ResultPart};
use crate::protocol::worker::FromWorker;
use crate::scheduler::{Failure, Partitions, Report};
use tryworks_core::ids::AttemptId;
use tryworks_core::{Error, codec};
use tryworks_io::blocks::Sealed;
use tryworks_transport::PeerId;

/// What is kept of a worker's last output, for when it dies.
const LAST_WORDS: usize = 2048;
/// What is kept of what was written, to be said again to a hub that may have missed it.
const SAID_AGAIN: usize = 1 << 20;

impl Engine {
    pub(super) fn worker_says(&mut self, peer: PeerId, message: FromWorker) {
        let Some(&number) = self.peers.get(&peer) else { return };
        match message {
            FromWorker::Done { attempt, report, blocks, results, kept, span } => {
                let Some(assigned) = self.take_assigned(number, attempt) else { return };
                self.done(&assigned, report, blocks, results, kept, span);
            }
            FromWorker::Failed { attempt, failure, span } => {
                let Some(assigned) = self.take_assigned(number, attempt) else { return };
                if !assigned.orphan {
                    self.for_hub.push(FromEngine::Failed { attempt, failure, span });
                }
            }
            FromWorker::Unreadable { output, why } => self.for_hub.push(FromEngine::Unreadable { output, why }),
            FromWorker::GetFile { number: question, shipment } => {
                let Some(session) = self.workers.get(&number).map(|worker| worker.session) else { return };
                let address = self.sessions.get(&session).and_then(|session| session.address.clone());
                self.orders.push(Order::GetFile { peer, number: question, session, shipment, address });
            }
            FromWorker::Fetch { number, wanted } => self.orders.push(Order::Bring { peer, number, wanted }),
        }
    }

    fn take_assigned(&mut self, worker: u64, attempt: AttemptId) -> Option<Assigned> {
        let assigned = &mut self.workers.get_mut(&worker)?.assigned;
        let at = assigned.iter().position(|assigned| assigned.attempt == attempt)?;
        assigned.remove(at)
    }

    fn done(
        &mut self,
        assigned: &Assigned,
        report: Report,
        blocks: Vec<(u64, u32, Sealed)>,
        results: Vec<(u32, ResultPart)>,
        kept: Vec<(u64, u32)>,
        span: (u64, u64),
    ) {
        let attempt = assigned.attempt;
        let session = assigned.session;
        if let Some(known) = self.sessions.get_mut(&session) {
            known.kept.extend(kept.iter().copied());
        }
        let partitions: Partitions = blocks.iter().map(|(_, partition, _)| *partition).collect();
        // Whoever takes a block over has to know it too.
        let mut note = Vec::new();
        let mut noted = Ok(());
        if let CodeId::Output(_) = assigned.code {
            noted = codec::encode(&(&partitions, &report), &mut note);
        }
        for (output, partition, sealed) in blocks {
            let written = matches!(sealed, Sealed::File { .. });
            let added = noted.clone().and_then(|()| self.store.add(output, partition, attempt.0, sealed, note.clone()));
            if let Err(error) = added {
                self.store.delete_attempt(attempt.0);
                if !assigned.orphan {
                    // A file that was written whole and is gone or damaged by now is made again like one that is lost
                    // later. A limit, and a disk that refuses, stay what they are.
                    let again = written && !matches!(error, Error::Limit { .. });
                    let failure = if again { Failure::Killed } else { Failure::Final(error) };
                    self.for_hub.push(FromEngine::Failed { attempt, failure, span });
                }
                return;
            }
        }
        match assigned.code {
            CodeId::Output(output) => {
                self.made.insert(attempt, HeldBlock { output, attempt, partitions, report: report.clone() });
            }
            CodeId::Results(job) => {
                self.results.insert(attempt, HeldResult { job, session, attempt, parts: results.clone() });
            }
        }
        // What an earlier hub launched was finished too late for it to be offered to this one.
        if assigned.orphan {
            self.made.remove(&attempt);
            self.results.remove(&attempt);
            self.store.delete_attempt(attempt.0);
            return;
        }
        self.for_hub.push(FromEngine::Done { attempt, report, results, kept, span });
    }

    /// A worker wrote something.
    pub(super) fn wrote(&mut self, number: u64, stderr: bool, bytes: Vec<u8>) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        let offset = worker.written[usize::from(stderr)];
        worker.written[usize::from(stderr)] += bytes.len() as u64;
        worker.last_words.extend_from_slice(&bytes);
        let surplus = worker.last_words.len().saturating_sub(LAST_WORDS);
        worker.last_words.drain(..surplus);
        let attempt = match worker.assigned.len() {
            1 => worker.assigned.front().map(|assigned| assigned.attempt),
            _ => None,
        };
        let name = self.options.name.clone();
        let written = Written { engine: self.id, name, worker: worker.pid, stderr, offset, attempt, bytes };
        let session = worker.session;
        self.recent.push_back((session, written.clone()));
        let mut kept: usize = self.recent.iter().map(|(_, written)| written.bytes.len()).sum();
        while kept > SAID_AGAIN
            && let Some((_, oldest)) = self.recent.pop_front()
        {
            kept -= oldest.bytes.len();
        }
        self.for_hub.push(FromEngine::Wrote { session, written });
    }
}
