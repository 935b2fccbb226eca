//! Starting workers, and giving them tasks.

use super::deaths::killed;
use super::{Assigned, Engine, Order, Worker};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tryworks_base::ids::{AttemptId, SessionId};
use tryworks_protocol::engine::Assignment;
use tryworks_protocol::worker::{ToWorker, Welcome};
use tryworks_scheduler::Time;
use tryworks_store::running;

impl Engine {
    /// The worker of a session. If there is none, one is started.
    pub(super) fn worker_of(&mut self, now: Time, id: SessionId) -> Option<u64> {
        let session = self.sessions.get_mut(&id)?;
        if let Some(worker) = session.worker {
            return Some(worker);
        }
        let number = self.next_worker;
        self.next_worker += 1;
        session.worker = Some(number);
        let (program, host, address) = (session.program.clone(), session.host.clone(), session.address.clone());
        let worker = Worker {
            session: id,
            connected: false,
            pid: 0,
            run: 0,
            assigned: VecDeque::new(),
            codes: BTreeSet::new(),
            stores: BTreeSet::new(),
            places_sent: 0,
            peak: 0,
            resident: 0,
            last_words: Vec::new(),
            since: now,
            serves: false,
            heard: now,
            cut: None,
            ending: false,
            guilt: None,
        };
        self.workers.insert(number, worker);
        self.orders.push(Order::Start { worker: number, program, host, address });
        Some(number)
    }

    /// A worker's process has started. `run` is a number that no other worker of any engine ever has.
    pub fn started(&mut self, worker: u64, pid: u32, run: u64) {
        let Some(known) = self.workers.get_mut(&worker) else { return self.orders.push(Order::Kill { worker }) };
        (known.pid, known.run) = (pid, run);
        // The worker was given up before it had a process to kill.
        if known.ending {
            self.orders.push(Order::Kill { worker });
        }
    }

    /// A worker says hello. Returns its welcome, unless this engine did not start it or it has already said hello. A
    /// program that a task starts may be the same one with the same environment, but is not a worker.
    pub fn greet(&mut self, now: Time, number: u64) -> Option<Welcome> {
        let sessions = self.sessions.len().max(1) as u64;
        let engine = self.id?;
        let worker = self.workers.get_mut(&number).filter(|worker| !worker.connected)?;
        worker.connected = true;
        worker.heard = now;
        let driver_host = self.sessions.get(&worker.session).map(|session| session.host.clone()).unwrap_or_default();
        Some(Welcome {
            session: worker.session,
            engine,
            name: self.setup.name.clone(),
            driver_host,
            slots: self.setup.slots,
            memory: self.setup.memory / sessions,
            spill_directory: self.setup.directory.display().to_string(),
            running: running::path_of(&self.setup.directory, number).display().to_string(),
            store: self.setup.store.clone(),
            quota: self.stock.quota,
        })
    }

    /// Hands in how much anonymous memory a worker holds, and the most memory of all kinds that it ever held.
    pub fn measured(&mut self, worker: u64, resident: u64, peak: u64) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            (worker.resident, worker.peak) = (resident, peak);
        }
    }

    pub(super) fn launch(&mut self, now: Time, tasks: Vec<Assignment>) {
        let mut batches = BTreeMap::<u64, Vec<Assignment>>::new();
        for assignment in tasks {
            let attempt = assignment.task.attempt;
            let Some(worker) = self.worker_of(now, assignment.session) else {
                self.for_hub.push(killed(attempt));
                continue;
            };
            let assigned = Assigned {
                attempt,
                session: assignment.session,
                job: assignment.task.job,
                code: assignment.code,
                partitions: assignment.task.partitions.clone(),
                stopping: None,
                orphan: false,
            };
            if let Some(worker) = self.workers.get_mut(&worker) {
                worker.assigned.push_back(assigned);
            }
            batches.entry(worker).or_default().push(assignment);
        }
        for (worker, tasks) in batches {
            // Codes and places must reach a worker before the tasks that need them.
            self.prepare(worker, &tasks);
            let quota = self.stock.quota;
            self.tell_worker(worker, ToWorker::Launch { tasks, quota });
        }
    }

    /// Sends a worker the codes and places that these tasks need and that it does not have yet.
    fn prepare(&mut self, number: u64, tasks: &[Assignment]) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        let mut news = Vec::new();
        for code in tasks.iter().map(|task| task.code) {
            if let Some((_, bytes)) = self.codes.get(&code)
                && worker.codes.insert(code)
            {
                news.push(ToWorker::Code { code, bytes: bytes.clone() });
            }
        }
        for (engine, store) in &self.stores {
            if worker.stores.insert(*engine) {
                news.push(ToWorker::Peer { engine: *engine, store: Box::new(store.clone()) });
            }
        }
        for output in self.changed.range(worker.places_sent + 1..).map(|(_, output)| output) {
            if output.session() == worker.session
                && let Some((_, places)) = self.places.get(output)
            {
                news.push(ToWorker::Places { output: *output, places: places.clone() });
            }
        }
        worker.places_sent = self.changes;
        for message in news {
            self.tell_worker(number, message);
        }
    }

    pub(super) fn kill(&mut self, now: Time, attempt: AttemptId) {
        let found = self.workers.iter_mut().find_map(|(number, worker)| {
            let assigned = worker.assigned.iter_mut().find(|assigned| assigned.attempt == attempt)?;
            assigned.stopping.get_or_insert(now);
            Some(*number)
        });
        if let Some(worker) = found {
            self.tell_worker(worker, ToWorker::Kill { attempt });
        }
    }
}
