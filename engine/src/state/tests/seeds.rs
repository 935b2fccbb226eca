//! The state in a small random world: hubs come and go, workers die, blocks cannot be added, outcomes are late. A seed
//! determines the whole run.

use super::super::NotAdded;
use super::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tryworks_base::Error;
use tryworks_base::ids::ExchangeId;
use tryworks_protocol::engine::HeldBlock;
use tryworks_protocol::results_of;
use tryworks_scheduler::Move;
use tryworks_testing::{Random, run_seeds};

const SEEDS: u64 = 300;
const STEPS: usize = 400;

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> Option<T> {
    (!from.is_empty()).then(|| from[random.below(from.len() as u64) as usize])
}

type Block = (OutputId, u32, AttemptId);

/// The world around the state, with what the test expects of the state.
struct Simulation {
    rng: Random,
    world: World,
    hub: bool,
    hubs: u32,
    launches: u64,
    /// Launches up to this number belong to sessions that are over.
    over: u64,
    /// What this hub launched or asked to move here, and has no report of.
    open: BTreeSet<u64>,
    /// What was reported to this hub as done.
    done: BTreeSet<u64>,
    /// Blocks that are sealed, and those that are also added.
    sealed: BTreeSet<Block>,
    added: BTreeSet<Block>,
    /// Outcomes that the state does not have yet.
    outcomes: VecDeque<Outcome>,
    /// The existing workers: whether each has said hello, and its tasks.
    workers: BTreeMap<u64, (bool, Vec<Assignment>)>,
    /// Workers that are to die.
    doomed: BTreeSet<u64>,
    /// How often each event happened that a run must include.
    seen: BTreeMap<&'static str, u64>,
}

enum Outcome {
    Added(AttemptId, Result<(), NotAdded>),
    TookOver(Move, Option<HeldBlock>),
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let (store, stock) = nowhere();
        Simulation {
            rng: Random(seed),
            world: World::begun(store, stock),
            hub: false,
            hubs: 0,
            launches: 0,
            over: 0,
            open: BTreeSet::new(),
            done: BTreeSet::new(),
            sealed: BTreeSet::new(),
            added: BTreeSet::new(),
            outcomes: VecDeque::new(),
            workers: BTreeMap::new(),
            doomed: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn step(&mut self) {
        match self.rng.below(16) {
            0..=2 => self.launch(),
            3 => self.hub_stops_or_deletes(),
            4 => self.move_here(),
            5..=8 => self.work(),
            9 => self.die(),
            10..=12 => self.outcome(),
            13 if self.rng.below(4) == 0 => self.hub_comes_or_goes(),
            14 if self.rng.below(3) == 0 => self.session_ends(),
            _ => self.world.pass(TICK * 3),
        }
        self.settle();
    }

    fn hub_comes_or_goes(&mut self) {
        if std::mem::replace(&mut self.hub, false) {
            self.see("hub lost");
            return self.world.engine.hub_lost(self.world.now);
        }
        self.join();
    }

    fn join(&mut self) {
        (self.hub, self.hubs) = (true, self.hubs + 1);
        let offer = self.world.engine.offer();
        self.whole(&offer.held);
        self.world.join(self.hubs);
        self.open.clear();
        self.done = offer.held.iter().map(|held| held.attempt.0).collect();
        self.world.session();
    }

    /// Checks that everything offered is in the store, and that nothing belongs to a session that is over.
    fn whole(&self, held: &[HeldBlock]) {
        for HeldBlock { output, attempt, partitions, .. } in held {
            for partition in partitions.iter() {
                assert!(
                    self.added.contains(&(*output, partition, *attempt)),
                    "{attempt:?} is offered, but is not in the store"
                );
            }
            assert!(attempt.0 > self.over, "{attempt:?} is of a session that is over");
        }
    }

    fn launch(&mut self) {
        if !self.hub {
            return;
        }
        let tasks = (0..=self.rng.below(2)).map(|_| {
            self.launches += 1;
            let code = match self.rng.below(4) {
                0 => CodeId::Results(JobId(1)),
                number => CodeId::Output(SESSION.output(ExchangeId(number))),
            };
            assignment(AttemptId(self.launches), code)
        });
        let tasks: Vec<_> = tasks.collect();
        self.open.extend(tasks.iter().map(|task| task.task.attempt.0));
        self.world.hub(ToEngine::Launch { tasks });
    }

    fn hub_stops_or_deletes(&mut self) {
        if !self.hub {
            return;
        }
        let known: Vec<u64> = self.done.iter().copied().collect();
        let open: Vec<u64> = self.open.iter().copied().collect();
        let message = match (self.rng.below(4), pick(&mut self.rng, &known), pick(&mut self.rng, &open)) {
            (0, _, Some(attempt)) => ToEngine::Kill { attempt: AttemptId(attempt) },
            (1, Some(attempt), _) => ToEngine::Discard { attempt: AttemptId(attempt) },
            (2, Some(attempt), _) => ToEngine::Received { attempts: vec![AttemptId(attempt)] },
            _ => ToEngine::DeleteOutput { output: SESSION.output(ExchangeId(1 + self.rng.below(3))) },
        };
        self.world.hub(message);
    }

    fn session_ends(&mut self) {
        if self.hub {
            self.see("session over");
            self.over = self.launches;
            self.world.hub(ToEngine::EndSession { session: SESSION });
            self.world.session();
        }
    }

    fn move_here(&mut self) {
        if !self.hub {
            return;
        }
        self.launches += 1;
        let output = SESSION.output(ExchangeId(1 + self.rng.below(3)));
        let (made_by, from, to) = (AttemptId(self.launches), EngineId(90), EngineId(91));
        self.open.insert(made_by.0);
        self.world.hub(ToEngine::Move(Move { output, partitions: (0..2).into(), made_by, from, to }));
    }

    /// A worker begins, or does something with its tasks.
    fn work(&mut self) {
        let numbers: Vec<u64> = self.workers.keys().copied().collect();
        let Some(number) = pick(&mut self.rng, &numbers) else { return };
        let now = self.world.now;
        let Some((greeted, tasks)) = self.workers.get_mut(&number) else { return };
        if !*greeted {
            self.world.engine.started(number, 7, number);
            *greeted = self.world.engine.greet(now, number).is_some();
            return;
        }
        if tasks.is_empty() {
            return self.world.engine.worker_says(now, number, FromWorker::Beat);
        }
        let task = tasks.remove(self.rng.below(tasks.len() as u64) as usize);
        let attempt = task.task.attempt;
        let output = match task.code {
            CodeId::Output(output) => output,
            CodeId::Results(job) => results_of(job),
        };
        let blocks: Vec<Block> = (0..self.rng.below(5) as u32).map(|partition| (output, partition, attempt)).collect();
        self.sealed.extend(&blocks);
        if self.rng.below(5) == 0 {
            return self.world.engine.worker_says(now, number, failed(attempt.0));
        }
        let blocks = || blocks.iter().map(|(output, at, _)| (*output, *at, Sealed::File { bytes: 1 })).collect();
        self.world.engine.worker_says(now, number, done(attempt.0, blocks()));
        if self.rng.below(10) == 0 {
            self.see("said twice");
            self.world.engine.worker_says(now, number, done(attempt.0, blocks()));
        }
    }

    /// A worker ends, by itself or killed by the engine.
    fn die(&mut self) {
        let any: Vec<u64> = match self.doomed.is_empty() || self.rng.below(8) == 0 {
            true => self.workers.keys().copied().collect(),
            false => self.doomed.iter().copied().collect(),
        };
        let Some(number) = pick(&mut self.rng, &any) else { return };
        self.end_worker(number);
    }

    fn end_worker(&mut self, number: u64) {
        self.doomed.remove(&number);
        let Some((_, tasks)) = self.workers.remove(&number) else { return };
        // The worker had begun some of its tasks.
        for task in tasks.iter().take(2) {
            if let CodeId::Output(output) = task.code {
                self.sealed.insert((output, 0, task.task.attempt));
            }
        }
        let ran = tasks.iter().take(2).map(|task| task.task.attempt).collect();
        let death = Death { how: "died".into(), hopeless: self.rng.below(3) == 0, ran };
        self.world.engine.worker_ended(self.world.now, number, &death);
        self.see("worker died");
    }

    fn outcome(&mut self) {
        match self.outcomes.pop_front() {
            Some(Outcome::Added(attempt, outcome)) => self.world.engine.added(attempt, outcome),
            Some(Outcome::TookOver(what, held)) => self.world.engine.took_over(what, held),
            None => {}
        }
    }

    /// Carries out the orders and reads the messages.
    fn settle(&mut self) {
        for (worker, batch) in self.world.engine.for_workers() {
            let Some((_, tasks)) = self.workers.get_mut(&worker) else { continue };
            for message in batch {
                match message {
                    ToWorker::Launch { tasks: more, .. } => tasks.extend(more),
                    // Some tasks stop when asked to.
                    ToWorker::Kill { attempt } if self.rng.below(2) == 0 => {
                        if let Some(at) = tasks.iter().position(|task| task.task.attempt == attempt) {
                            tasks.remove(at);
                            let failed = FromWorker::Failed { attempt, failure: Failure::Killed, span: (0, 0) };
                            self.world.engine.worker_says(self.world.now, worker, failed);
                        }
                    }
                    _ => {}
                }
            }
        }
        for order in self.world.engine.orders() {
            match order {
                Order::Start { worker, .. } => drop(self.workers.insert(worker, (false, Vec::new()))),
                Order::Kill { worker } => drop(self.doomed.insert(worker)),
                Order::Blocks(order) => self.keep(order),
                Order::TakeOver { what, .. } => self.take_over(what),
                _ => {}
            }
        }
        for message in self.world.engine.for_hub() {
            match message {
                FromEngine::Done { attempt, .. } => {
                    self.report(attempt);
                    self.done.insert(attempt.0);
                }
                FromEngine::Failed { attempt, .. } => self.report(attempt),
                FromEngine::WorkerDied { suspects, waiting, .. } => {
                    suspects.into_iter().chain(waiting).for_each(|attempt| self.report(attempt));
                }
                FromEngine::Moved { what, here } => {
                    self.report(what.made_by);
                    self.done.extend(here.then_some(what.made_by.0));
                }
                _ => {}
            }
        }
    }

    /// The hub reads the report of a launch; each must come once.
    #[track_caller]
    fn report(&mut self, attempt: AttemptId) {
        assert!(self.open.remove(&attempt.0), "{attempt:?} is reported, but this hub does not wait for it");
    }

    /// Acts as a store that cannot add some of the blocks.
    fn keep(&mut self, order: BlockOrder) {
        match order {
            BlockOrder::Add { attempt, blocks, .. } => {
                let mut outcome = Ok(());
                for (output, partition, _) in blocks {
                    let block = (output, partition, attempt);
                    self.sealed.remove(&block);
                    if self.rng.below(12) == 0 {
                        let error = Error::Bug("it is damaged".into());
                        outcome = Err(NotAdded { error, file: self.rng.below(2) == 0 });
                        self.see("not added");
                        break;
                    }
                    self.added.insert(block);
                }
                self.outcomes.push_back(Outcome::Added(attempt, outcome));
            }
            BlockOrder::Delete { attempt } => self.added.retain(|(_, _, by)| *by != attempt),
            BlockOrder::Discard { attempt, output, partitions } => {
                self.sealed.retain(|(of, at, by)| (*of, *by) != (output, attempt) || !partitions.contains(*at));
            }
            BlockOrder::DeleteOutputs { outputs } => {
                self.added.retain(|(of, _, _)| !outputs.contains(of));
                if !self.outcomes.is_empty() {
                    self.see("deleted while on its way");
                }
            }
        }
    }

    fn take_over(&mut self, what: Move) {
        let held = (self.rng.below(4) > 0).then(|| HeldBlock {
            output: what.output,
            attempt: what.made_by,
            partitions: what.partitions.clone(),
            report: Report { partitions: vec![], bucket_bytes: vec![] },
        });
        if held.is_some() {
            self.added.extend(what.partitions.iter().map(|partition| (what.output, partition, what.made_by)));
        }
        self.outcomes.push_back(Outcome::TookOver(what, held));
    }

    /// Ends the run: each task was reported, and the store has exactly what is offered.
    fn finish(mut self) -> BTreeMap<&'static str, u64> {
        if !self.hub {
            self.join();
        }
        let workers: Vec<u64> = self.workers.keys().copied().collect();
        for number in workers {
            self.end_worker(number);
            self.settle();
        }
        while !self.outcomes.is_empty() {
            self.outcome();
            self.settle();
        }
        assert_eq!(self.open, BTreeSet::new(), "they were never reported");
        let offer = self.world.engine.has();
        self.whole(&offer.held);
        let held = offer.held.iter().map(|held| held.attempt).chain(offer.results.iter().map(|held| held.attempt));
        let held: BTreeSet<AttemptId> = held.collect();
        let stray: Vec<_> = self.added.iter().filter(|(_, _, attempt)| !held.contains(attempt)).collect();
        assert!(stray.is_empty(), "{stray:?} is not offered");
        assert!(self.sealed.is_empty(), "{:?} is never deleted", self.sealed);
        self.seen
    }
}

#[test]
fn each_task_is_reported_once_to_its_hub_and_the_store_has_what_is_offered() {
    let run = |seed| {
        let mut simulation = Simulation::new(seed);
        (0..STEPS).for_each(|_| simulation.step());
        simulation.finish()
    };
    let often = ["hub lost", "session over", "said twice", "worker died", "not added", "deleted while on its way"];
    run_seeds(SEEDS, run, &often);
}
