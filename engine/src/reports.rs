//! What workers say: what they did, what they ask for, what they wrote.

use super::flow::{LAST_WORDS, Piece};
use super::state::{Assigned, Engine, Order};
use bytes::Bytes;
use std::time::Instant;
use tryworks_base::ids::AttemptId;
use tryworks_base::{Error, codec};
use tryworks_protocol::driver::Written;
use tryworks_protocol::engine::{CodeId, FromEngine, HeldBlock, HeldResult, ResultPart};
use tryworks_protocol::worker::FromWorker;
use tryworks_scheduler::{Failure, Partitions, Report};
use tryworks_store::blocks::Sealed;
use tryworks_transport::PeerId;

/// What is kept of what was written, to be said again to a hub that may have missed it.
const SAID_AGAIN: usize = 1 << 20;

impl Engine {
    pub(super) fn worker_says(&mut self, peer: PeerId, message: FromWorker) {
        let Some(&number) = self.peers.get(&peer) else { return };
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.heard = Instant::now();
            if !std::mem::replace(&mut worker.serves, true)
                && let Some(session) = self.sessions.get_mut(&worker.session)
            {
                session.failed_starts = 0;
            }
        }
        match message {
            FromWorker::Beat => {}
            FromWorker::Done { attempt, report, blocks, results, kept, span } => {
                let Some(assigned) = self.take_assigned(number, attempt) else {
                    // Nobody has asked for it: what it sealed would stay for ever.
                    let sealed = blocks.iter().map(|(output, partition, _)| (*output, *partition));
                    return sealed.for_each(|(output, partition)| self.store.discard(output, partition, attempt.0));
                };
                self.done(&assigned, report, blocks, results, kept, span);
            }
            FromWorker::Failed { attempt, failure, span } => {
                let Some(assigned) = self.take_assigned(number, attempt) else { return };
                // What was stopped before it began has left nothing.
                if span != (0, 0) {
                    self.undo(&assigned);
                }
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

    /// Deletes all that a task left, or may have left: it came to nothing, or nobody wants it. Of the blocks that it
    /// made some may be sealed and others not.
    pub(super) fn undo(&mut self, assigned: &Assigned) {
        let output = match assigned.code {
            CodeId::Output(output) => output.0,
            CodeId::Results(job) => tryworks_protocol::result_of(job),
        };
        let attempt = assigned.attempt;
        self.made.remove(attempt);
        self.results.remove(&attempt);
        self.store.delete_attempt(attempt.0);
        assigned.partitions.iter().for_each(|partition| self.store.discard(output, partition, attempt.0));
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
        // What an earlier hub launched was finished too late for it to be offered to this one.
        if assigned.orphan {
            return self.undo(assigned);
        }
        let partitions: Partitions = blocks.iter().map(|(_, partition, _)| *partition).collect();
        // Whoever takes a block over has to know it too.
        let mut note = Vec::new();
        let mut noted = Ok(());
        if let CodeId::Output(_) = assigned.code {
            noted = codec::encode(&(&partitions, &report), &mut note);
        }
        let note = Bytes::from(note);
        for (output, partition, sealed) in blocks {
            let written = matches!(sealed, Sealed::File { .. });
            let added = noted.clone().and_then(|()| self.store.add(output, partition, attempt.0, sealed, note.clone()));
            if let Err(error) = added {
                self.undo(assigned);
                // A file that was written whole and is gone or damaged by now is made again like one that is lost
                // later. A limit, and a disk that refuses, stay what they are.
                let again = written && !matches!(error, Error::Limit { .. });
                let failure = if again { Failure::Killed } else { Failure::Final(error) };
                return self.for_hub.push(FromEngine::Failed { attempt, failure, span });
            }
        }
        match assigned.code {
            CodeId::Output(output) => {
                self.made.insert(HeldBlock { output, attempt, partitions, report: report.clone() });
            }
            CodeId::Results(job) => {
                self.results.insert(attempt, HeldResult { job, session, attempt, parts: results.clone() });
            }
        }
        self.for_hub.push(FromEngine::Done { attempt, report, results, kept, span });
    }

    /// A worker wrote something.
    pub(super) fn wrote(&mut self, number: u64, piece: Piece) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        let Piece { stderr, offset, bytes, cut } = piece;
        worker.last_words.extend_from_slice(&cut);
        worker.last_words.extend_from_slice(&bytes);
        let surplus = worker.last_words.len().saturating_sub(LAST_WORDS);
        worker.last_words.drain(..surplus);
        let attempt = match worker.assigned.len() {
            1 => worker.assigned.front().map(|assigned| assigned.attempt),
            _ => None,
        };
        let name = self.options.name.clone();
        let written =
            Written { engine: self.id, name, run: worker.run, worker: worker.pid, stderr, offset, attempt, bytes };
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

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;
    use tryworks_base::ids::{EngineId, JobId, OutputId, SessionId};
    use tryworks_protocol::engine::{Assignment, StorePlace, ToEngine};
    use tryworks_scheduler::{PartitionReport, Task};
    use tryworks_store::blocks::{BlockStore, BlockWriter};

    const SESSION: SessionId = SessionId(1);
    const ATTEMPT: AttemptId = AttemptId(1 << 24);

    /// An engine with a worker that was given a task of four partitions, without a hub or a process.
    fn world() -> (Engine, PeerId, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let store = BlockStore::open(&directory.path().join("blocks"), None).unwrap();
        let place = StorePlace {
            host: "here".into(),
            directory: store.dir().display().to_string(),
            address: None,
            socket: String::new(),
            key: store.key().clone(),
        };
        let options = Options {
            name: "one".into(),
            connect: PathBuf::new(),
            slots: 1,
            memory: 1 << 30,
            directory: directory.path().into(),
            programs: None,
            quota: None,
            listen: None,
            patience: Duration::from_secs(60),
        };
        let mut engine = Engine::new(options, store, place);
        let (program, host) = (Box::default(), "here".into());
        engine.hub_says(ToEngine::Session { session: SESSION, program, host, address: None });
        let peer = PeerId::from(7);
        assert!(engine.greet(1, peer).is_some());
        let partitions = (0..4).into();
        let (job, stage, stage_attempt, tries, alone, copy_of) = (JobId(1), 0, 0, 0, false, None);
        let task = Task { attempt: ATTEMPT, job, stage, stage_attempt, tries, alone, copy_of, partitions };
        engine.hub_says(ToEngine::Launch { tasks: vec![Assignment { task, session: SESSION, code: code() }] });
        (engine, peer, directory)
    }

    fn output() -> u64 {
        SESSION.global(3)
    }

    fn code() -> CodeId {
        CodeId::Output(OutputId(output()))
    }

    /// As a worker seals the block of a partition.
    fn seal(engine: &Engine, partition: u32) -> (u64, u32, Sealed) {
        let id = engine.store.key().id(output(), partition, ATTEMPT.0);
        let mut writer = BlockWriter::new(engine.store.dir(), id, engine.store.room());
        writer.sequence().unwrap();
        writer.frame(&[7; 100_000]).unwrap();
        (output(), partition, writer.seal(&[]).unwrap())
    }

    fn done(blocks: Vec<(u64, u32, Sealed)>) -> FromWorker {
        let partitions = blocks.iter().map(|_| PartitionReport { bytes: 1, rows: 1, checksum: 1 }).collect();
        let report = Report { partitions, bucket_bytes: Vec::new() };
        FromWorker::Done { attempt: ATTEMPT, report, blocks, results: vec![], kept: vec![], span: (1, 2) }
    }

    /// How many files there are, and that they are what is accounted for.
    #[track_caller]
    fn files(engine: &Engine) -> usize {
        engine.store.wait_for_removals();
        let files = std::fs::read_dir(engine.store.dir()).unwrap();
        let bytes: Vec<u64> = files.map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(bytes.iter().sum::<u64>(), engine.store.used(), "bytes on the disk and bytes accounted");
        bytes.len()
    }

    /// One of four blocks could not be added, and those after it stayed for as long as the engine lived.
    #[test]
    fn when_one_block_cannot_be_added_none_is_left() {
        for damaged in 0..4 {
            let (mut engine, peer, _directory) = world();
            let blocks: Vec<_> = (0..4).map(|partition| seal(&engine, partition)).collect();
            let id = engine.store.key().id(output(), damaged, ATTEMPT.0);
            std::fs::write(id.path_in(engine.store.dir()), b"short").unwrap();
            engine.worker_says(peer, done(blocks));
            assert!(matches!(engine.for_hub.last(), Some(FromEngine::Failed { failure: Failure::Killed, .. })));
            assert_eq!((files(&engine), engine.made.iter().count()), (0, 0));
        }
    }

    #[test]
    fn what_a_task_had_sealed_before_it_failed_or_its_worker_died_is_deleted() {
        let (mut engine, peer, _directory) = world();
        (0..2).for_each(|partition| drop(seal(&engine, partition)));
        let failure = Failure::Killed;
        engine.worker_says(peer, FromWorker::Failed { attempt: ATTEMPT, failure, span: (1, 2) });
        assert_eq!(files(&engine), 0);
        assert_eq!(engine.for_hub.len(), 1);

        let (mut engine, _, _directory) = world();
        (0..2).for_each(|partition| drop(seal(&engine, partition)));
        let death = super::super::deaths::Death { how: "died".into(), hopeless: false, ran: vec![ATTEMPT] };
        engine.worker_ended(1, &death);
        assert_eq!(files(&engine), 0);
    }

    #[test]
    fn what_nobody_waits_for_is_deleted() {
        // It was launched by the hub before this one.
        let (mut engine, peer, _directory) = world();
        engine.joined(EngineId(2));
        let blocks = (0..4).map(|partition| seal(&engine, partition)).collect();
        engine.worker_says(peer, done(blocks));
        assert_eq!((files(&engine), engine.for_hub.len()), (0, 0));
        // It was reported already.
        let blocks = (0..4).map(|partition| seal(&engine, partition)).collect();
        engine.worker_says(peer, done(blocks));
        assert_eq!(files(&engine), 0);
    }

    /// A worker that held more than its budget with nothing to do got nothing to do any more, and its job never ended.
    #[test]
    fn a_worker_that_holds_too_much_gets_a_task_when_it_has_none() {
        let (mut engine, peer, _directory) = world();
        engine.workers.get_mut(&1).unwrap().resident = 2 << 30;
        assert!(matches!(engine.beat(), FromEngine::Beat { short: true, .. }));
        engine.tell_room();
        assert!(engine.for_hub.is_empty());
        engine.worker_says(peer, FromWorker::Failed { attempt: ATTEMPT, failure: Failure::Killed, span: (1, 2) });
        engine.tell_room();
        engine.tell_room();
        let [FromEngine::Failed { .. }, FromEngine::Beat { short: false, .. }] = &engine.for_hub[..] else {
            panic!("{:?}", engine.for_hub)
        };
        assert!(matches!(engine.beat(), FromEngine::Beat { short: false, .. }));
    }

    #[test]
    fn a_session_that_ends_takes_all_its_blocks_along() {
        let (mut engine, peer, _directory) = world();
        let blocks = (0..4).map(|partition| seal(&engine, partition)).collect();
        engine.worker_says(peer, done(blocks));
        assert_eq!((files(&engine), engine.made.iter().count()), (4, 1));
        // As when a move came to nothing in the middle: no launch of this engine made it.
        let stray = AttemptId(9 << 24);
        let id = engine.store.key().id(output(), 7, stray.0);
        let mut writer = BlockWriter::new(engine.store.dir(), id, engine.store.room());
        writer.sequence().unwrap();
        writer.frame(&[7; 100_000]).unwrap();
        engine.store.add(output(), 7, stray.0, writer.seal(&[]).unwrap(), Vec::new()).unwrap();
        assert_eq!(files(&engine), 5);
        engine.hub_says(ToEngine::EndSession { session: SESSION });
        assert_eq!((files(&engine), engine.made.iter().count()), (0, 0));
    }
}
