//! Answers to the command line.

use super::Hub;
use super::jobs::Phase;
use super::{Lookup, Order};
use crate::journal::Ran;
use std::collections::BTreeMap;
use tryworks_base::ids::{EngineId, JobId};
use tryworks_protocol::admin::{Answer, EngineRow, Question, Status, WhyRow};
use tryworks_scheduler::{Event, Gate, Time, Why};
use tryworks_transport::PeerId;

impl Hub {
    /// The answer to a question; `None` if it takes I/O, for which an order then goes out.
    pub(crate) fn answer(&mut self, peer: PeerId, number: u64, question: Question) -> Option<Answer> {
        let running = |hub: &Self, name: &str| hub.find_job(name);
        Some(match question {
            Question::Status => {
                let status = Box::new(self.status());
                self.out.order(Order::Status { peer, number, status });
                return None;
            }
            Question::Cancel { name } if let Some(id) = running(self, &name) => self.cancel(id),
            Question::Why { name } if let Some(id) = running(self, &name) => Answer::Why(self.why(id)),
            Question::Jobs { .. } | Question::Job { .. } | Question::Cancel { .. } | Question::Why { .. } => {
                let live = self.jobs.iter().map(|(id, job)| self.job_row(*id, job)).collect();
                self.look_up(Lookup::Ask { peer, number, question, live });
                return None;
            }
            Question::Logs { engine, job } => {
                let engine = match engine.map(|name| self.find_engine(&name).ok_or(name)).transpose() {
                    Ok(engine) => engine,
                    Err(name) => return Some(Answer::No(format!("there is no engine `{name}`"))),
                };
                let ran = match job.map(|name| self.ran(&name).ok_or(name)).transpose() {
                    Ok(ran) => ran,
                    Err(name) => {
                        // The driver has left, or has acknowledged all results: only the journal knows when the job
                        // ran.
                        self.look_up(Lookup::Ran { peer, number, engine, name });
                        return None;
                    }
                };
                Answer::Logs(self.recent.lines(engine, ran))
            }
            Question::Drain { engine } => match self.find_engine(&engine) {
                Some(id) => self.drain(id),
                None => Answer::No(format!("there is no engine `{engine}`: `tryworks cluster status` lists them")),
            },
            Question::Rotate => {
                self.out.order(Order::Renew { peer, number });
                return None;
            }
            Question::Stop => {
                self.out.order(Order::Stop);
                Answer::Done("the hub is stopping".into())
            }
        })
    }

    fn cancel(&mut self, id: JobId) -> Answer {
        let Some(job) = self.jobs.get(&id) else { return Answer::No(format!("{id} has ended already")) };
        match (&job.end, &job.detached) {
            (None, detached) => {
                let then = detached.as_ref().map_or_else(String::new, |name| {
                    format!("; once it has ended, `tryworks cancel {name}` frees its name")
                });
                self.cancel_job(id);
                Answer::Done(format!("{id} is being cancelled{then}"))
            }
            (Some(_), Some(name)) => {
                let text = format!("{id} had ended; its results are dropped, and the name `{name}` is free");
                self.close_job(id);
                Answer::Done(text)
            }
            (Some(_), None) => Answer::No(format!("{id} has ended already")),
        }
    }

    fn find_engine(&self, name: &str) -> Option<EngineId> {
        self.engines
            .named(name)
            .or_else(|| name.parse().ok().map(EngineId).filter(|id| self.engines.all.contains_key(id)))
    }

    fn drain(&mut self, id: EngineId) -> Answer {
        let name = self.engines.name(id);
        if let Some(engine) = self.engines.all.get_mut(&id) {
            engine.gate = Gate::Draining;
        }
        self.events.push(Event::EngineGate { engine: id, gate: Gate::Draining });
        Answer::Done(format!("{name} gets no further tasks, and leaves when what it holds has been moved"))
    }

    pub(crate) fn status(&self) -> Status {
        let running = |id: EngineId| self.launches.out.values().filter(|launched| launched.engine == id).count() as u32;
        let engines = self.engines.all.iter().map(|(id, engine)| EngineRow {
            engine: *id,
            name: engine.name.clone(),
            host: engine.host.clone(),
            slots: engine.slots,
            running: running(*id).min(engine.slots),
            memory: engine.memory,
            resident: engine.resident,
            blocks: engine.blocks,
            state: match engine.gate {
                Gate::Draining => "leaving",
                _ if self.scheduler.excluded_until(*id).is_some_and(|until| until > self.now) => "excluded",
                Gate::Memory => "short of memory",
                _ => "open",
            }
            .into(),
        });
        let running = self.jobs.iter().filter(|(_, job)| job.end.is_none());
        Status {
            cluster: self.setup.cluster.clone(),
            pid: self.setup.host.pid,
            up_ms: self.now.since(Time(0)).as_millis() as u64,
            epoch: self.epoch,
            resident: 0,
            engines: engines.collect(),
            running: running.map(|(id, job)| self.job_row(*id, job)).collect(),
            journal: self.trouble.as_ref().map(ToString::to_string),
            drivers: self.sessions.all.values().filter(|session| session.peer.is_some()).count() as u32,
        }
    }

    /// For each stage, the reasons why its partitions wait, and how many wait for each reason.
    fn why(&self, id: JobId) -> Vec<WhyRow> {
        let job = &self.jobs[&id];
        let mut rows = Vec::new();
        if job.phase == Phase::Waiting && job.end.is_none() {
            let partitions = job.spec.wanted.len();
            let (stage, why) = (job.spec.stages.len() as u32 - 1, Why::NoEngine);
            rows.push(WhyRow { stage, partitions, example: 0, why, waits_for: Vec::new() });
        }
        for (at, stage) in job.spec.stages.iter().enumerate() {
            let mut reasons = BTreeMap::<String, WhyRow>::new();
            for partition in 0..stage.partitions {
                let Some(why) = self.scheduler.why(id, at as u32, partition) else { continue };
                let row = reasons.entry(format!("{why:?}"));
                let fresh = || WhyRow {
                    stage: at as u32,
                    partitions: 0,
                    example: partition,
                    waits_for: if why.is_for_slots() { self.waits_for() } else { Vec::new() },
                    why,
                };
                row.or_insert_with(fresh).partitions += 1;
            }
            rows.extend(reasons.into_values());
        }
        rows
    }

    /// When a job that the hub still has in memory ran, and the session whose workers ran it.
    fn ran(&self, name: &str) -> Option<Ran> {
        let id = self.find_job(name)?;
        let job = self.jobs.get(&id)?;
        Some(Ran { job: id, session: job.session, from: job.submitted, to: job.ended })
    }
}
