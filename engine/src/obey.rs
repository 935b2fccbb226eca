//! Carries out the state's orders, and sends its messages.

use super::fetch::fetch;
use super::io::{Io, Tended};
use super::state::{BlockOrder, Engine, NotAdded, Order, Stock};
use super::workers::tend;
use std::path::Path;
use tryworks_base::Error;
use tryworks_protocol::program::Program;
use tryworks_protocol::worker::ToWorker;
use tryworks_store::blocks::{BlockStore, Sealed};

impl Io {
    /// Carries out the state's orders, and sends its messages.
    pub(super) fn flush(&mut self, engine: &mut Engine) {
        self.obey(engine);
        for (worker, batch) in engine.for_workers() {
            if let Some(peer) = self.workers.get(&worker).and_then(|worker| worker.peer) {
                self.tell(engine, &peer, &batch);
            }
        }
        let batch = engine.for_hub();
        self.tell_hub(engine, &batch);
        // A message that could not be sent may lead to further orders.
        self.obey(engine);
    }

    /// Carries out the state's orders, and those that follow from their outcomes.
    pub(super) fn obey(&mut self, engine: &mut Engine) {
        loop {
            let orders = engine.orders();
            if orders.is_empty() {
                return;
            }
            for order in orders {
                self.carry_out(engine, order);
            }
        }
    }

    /// An order that may wait for a disk or another process runs as a separate task, because the loop must keep
    /// beating.
    fn carry_out(&mut self, engine: &mut Engine, order: Order) {
        match order {
            Order::Start { worker, program, host, address } => self.start(worker, *program, host, address),
            Order::Kill { worker } => {
                self.workers.entry(worker).and_modify(|worker| worker.kill = None);
            }
            Order::Heard { worker, stderr, offset } => {
                if let Some(worker) = self.workers.get(&worker) {
                    worker.flows[usize::from(stderr)].heard(offset);
                }
            }
            Order::Unheard { worker } => {
                let flows = self.workers.get(&worker).into_iter().flat_map(|worker| &worker.flows);
                for flow in flows {
                    flow.reset();
                }
            }
            Order::Blocks(order) => keep(&self.store, engine, order),
            Order::Prefetch { worker, number, wanted, here, stores } => {
                let Some(peer) = self.workers.get(&worker).and_then(|worker| worker.peer) else { return };
                let (prefetcher, to) = (self.prefetcher.clone(), self.answered.0.clone());
                tokio::spawn(async move {
                    let pieces = prefetcher.prefetch(here, &stores, &wanted).await;
                    let _ = to.send((peer, ToWorker::Fetched { number, answer: Ok(pieces) }));
                });
            }
            Order::GetFile { worker, number, session, shipment, address } => {
                let Some(peer) = self.workers.get(&worker).and_then(|worker| worker.peer) else { return };
                let (files, to) = (self.files.clone(), self.answered.0.clone());
                let data = self.prefetcher.data.clone();
                tokio::spawn(async move {
                    let path = files.get(session, &shipment, data.as_ref(), address.as_deref()).await;
                    let path = path.map(|path| path.display().to_string());
                    let _ = to.send((peer, ToWorker::File { number, path }));
                });
            }
            Order::DropFiles { session } => {
                let files = self.files.clone();
                tokio::spawn(async move { files.end_session(session).await });
            }
            Order::DropFile { session, id } => {
                let files = self.files.clone();
                tokio::spawn(async move { files.drop_file(session, &id).await });
            }
            Order::TakeOver { what, from } => {
                let (prefetcher, to) = (self.prefetcher.clone(), self.moved.0.clone());
                tokio::spawn(async move {
                    let held = prefetcher.take_over(from.as_ref(), &what).await;
                    let held = held.inspect_err(|error| tracing::warn!("a block was not taken over: {error}"));
                    let _ = to.send((what, held.ok()));
                });
            }
        }
    }

    fn start(&mut self, worker: u64, program: Program, host: String, address: Option<String>) {
        let (directory, socket) = (self.options.directory.clone(), self.socket.clone());
        let (prefetcher, to) = (self.prefetcher.clone(), self.happened.0.clone());
        let (programs, patience) = (self.programs.clone(), self.options.patience);
        let tended = Tended::new(self.clock);
        let flows = tended.flows.clone();
        self.workers.insert(worker, tended);
        tokio::spawn(async move {
            // Another machine may have the same program at the same path, for example on a shared disk.
            let (store, wanted) = (programs.clone(), program.clone());
            let taken = tokio::task::spawn_blocking(move || {
                store.take(&wanted.id, wanted.bytes, Path::new(&wanted.path), None)
            })
            .await;
            let path = match taken.unwrap_or_else(|error| Err(Error::Bug(error.to_string()))) {
                Err(_) if host != prefetcher.host => {
                    fetch(&programs, &program, prefetcher.data.as_ref(), address.as_deref(), patience).await
                }
                taken => taken,
            };
            tend(worker, path, program, socket, directory, flows, to).await;
        });
    }
}

/// What the blocks of a store take.
pub(super) fn stock_of(store: &BlockStore) -> Stock {
    Stock { used: store.used(), quota: store.quota() }
}

/// Carries out a change to the store, and hands the outcome to the state.
fn keep(store: &BlockStore, engine: &mut Engine, order: BlockOrder) {
    match order {
        BlockOrder::Add { attempt, blocks, note } => {
            let added = blocks.into_iter().try_for_each(|(output, partition, sealed)| {
                let file = matches!(sealed, Sealed::File { .. });
                let added = store.add(output, partition, attempt, sealed, note.clone());
                added.map(drop).map_err(|error| NotAdded { error, file })
            });
            engine.added(attempt, added);
        }
        BlockOrder::Delete { attempt } => store.delete_attempt(attempt),
        BlockOrder::Discard { attempt, output, partitions } => {
            for partition in partitions.iter() {
                store.discard(output, partition, attempt);
            }
        }
        BlockOrder::DeleteOutputs { outputs } => store.delete_outputs(outputs),
    }
    engine.stocked(stock_of(store));
}

#[cfg(test)]
mod tests {
    use super::super::state::Death;
    use super::super::state::tests::{SESSION, WORKER, World, done, failed, output};
    use super::*;
    use tryworks_base::ids::{AttemptId, OutputId};
    use tryworks_protocol::engine::{FromEngine, StorePlace, ToEngine};
    use tryworks_scheduler::Failure;
    use tryworks_store::blocks::BlockWriter;

    const ATTEMPT: u64 = 1 << 24;

    /// The state of an engine with a worker that was given a task, and a store.
    struct Rig {
        world: World,
        store: BlockStore,
        _directory: tempfile::TempDir,
    }

    impl Rig {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = BlockStore::open(&directory.path().join("blocks"), None).unwrap();
            let place = StorePlace {
                host: "here".into(),
                directory: store.dir().display().to_string(),
                address: None,
                socket: String::new(),
                key: store.key().clone(),
            };
            let mut world = World::serving(place, stock_of(&store));
            world.launch([ATTEMPT]);
            Rig { world, store, _directory: directory }
        }

        /// Seals the block of a partition, as a worker does.
        fn seal(&self, partition: u32) -> (OutputId, u32, Sealed) {
            let id = self.store.key().id(output(), partition, AttemptId(ATTEMPT));
            let mut writer = BlockWriter::new(self.store.dir(), id, self.store.quota());
            writer.sequence().unwrap();
            writer.frame(&[7; 100_000]).unwrap();
            (output(), partition, writer.seal(&[]).unwrap())
        }

        /// Carries out all orders to the store, and returns how many files it has. Checks that their bytes are
        /// accounted for.
        #[track_caller]
        fn files(&mut self) -> usize {
            loop {
                let orders = self.world.engine.orders();
                if orders.is_empty() {
                    break;
                }
                for order in orders {
                    if let Order::Blocks(order) = order {
                        keep(&self.store, &mut self.world.engine, order);
                    }
                }
            }
            self.store.wait_for_removals();
            let files = std::fs::read_dir(self.store.dir()).unwrap();
            let bytes: Vec<u64> = files.map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
            assert_eq!(bytes.iter().sum::<u64>(), self.store.used(), "bytes on the disk and bytes accounted");
            bytes.len()
        }

        fn held(&self) -> usize {
            self.world.engine.has().held.len()
        }
    }

    /// When one of four blocks could not be added, those after it stayed until the engine ended.
    #[test]
    fn if_one_block_of_a_task_cannot_be_added_none_stays() {
        for damaged in 0..4 {
            let mut rig = Rig::new();
            let blocks: Vec<_> = (0..4).map(|partition| rig.seal(partition)).collect();
            let id = rig.store.key().id(output(), damaged, AttemptId(ATTEMPT));
            std::fs::write(id.path_in(rig.store.dir()), b"short").unwrap();
            rig.world.worker(done(ATTEMPT, blocks));
            assert_eq!((rig.files(), rig.held()), (0, 0));
            let told = rig.world.engine.for_hub();
            assert!(matches!(told[..], [FromEngine::Failed { failure: Failure::Killed, .. }]), "{told:?}");
        }
    }

    #[test]
    fn blocks_of_a_failed_task_or_a_dead_worker_are_deleted() {
        let mut rig = Rig::new();
        (0..2).for_each(|partition| drop(rig.seal(partition)));
        rig.world.worker(failed(ATTEMPT));
        assert_eq!(rig.files(), 0);

        let mut rig = Rig::new();
        (0..2).for_each(|partition| drop(rig.seal(partition)));
        let death = Death { how: "died".into(), hopeless: false, ran: vec![AttemptId(ATTEMPT)] };
        rig.world.engine.worker_ended(rig.world.now, WORKER, &death);
        assert_eq!(rig.files(), 0);
    }

    #[test]
    fn blocks_of_an_earlier_hubs_or_an_already_reported_task_are_deleted() {
        // An earlier hub launched the task.
        let mut rig = Rig::new();
        rig.world.join(2);
        let blocks = (0..4).map(|partition| rig.seal(partition)).collect();
        rig.world.worker(done(ATTEMPT, blocks));
        assert_eq!(rig.files(), 0);
        // The task was already reported.
        let blocks = (0..4).map(|partition| rig.seal(partition)).collect();
        rig.world.worker(done(ATTEMPT, blocks));
        assert_eq!(rig.files(), 0);
    }

    #[test]
    fn all_blocks_of_a_session_are_deleted_when_it_ends() {
        let mut rig = Rig::new();
        let blocks = (0..4).map(|partition| rig.seal(partition)).collect();
        rig.world.worker(done(ATTEMPT, blocks));
        assert_eq!((rig.files(), rig.held()), (4, 1));
        // As after a takeover that failed halfway: no launch of this engine made the block.
        let stray = AttemptId(9 << 24);
        let id = rig.store.key().id(output(), 7, stray);
        let mut writer = BlockWriter::new(rig.store.dir(), id, rig.store.quota());
        writer.sequence().unwrap();
        writer.frame(&[7; 100_000]).unwrap();
        rig.store.add(output(), 7, stray, writer.seal(&[]).unwrap(), Vec::new()).unwrap();
        assert_eq!(rig.files(), 5);
        rig.world.hub(ToEngine::EndSession { session: SESSION });
        assert_eq!((rig.files(), rig.held()), (0, 0));
    }
}
