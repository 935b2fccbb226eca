//! Sending tasks to engines, and taking in their reports. Before a task, an engine receives the task's code and the
//! locations of its inputs.

use super::Hub;
use super::launches::Launched;
use std::collections::BTreeSet;
use tryworks_base::Error;
use tryworks_base::ids::{AttemptId, EngineId, OutputId, SessionId};
use tryworks_protocol::driver::ToDriver;
use tryworks_protocol::engine::{Assignment, CodeBytes, CodeId, Places, ResultPart, ToEngine};
use tryworks_scheduler::{Event, Failure, Report, Run, Task};

impl Hub {
    pub(crate) fn launch(&mut self, engine: EngineId, tasks: &[Task]) {
        let mut assignments = Vec::with_capacity(tasks.len());
        let mut introduced = None;
        for task in tasks {
            let Some(job) = self.jobs.get(&task.job) else { continue };
            let Some(stage) = job.spec.stages.get(task.stage as usize) else { continue };
            let code = stage.output.map_or(CodeId::Results(task.job), CodeId::Output);
            let session = job.session;
            // Consecutive tasks of a batch mostly belong to one stage.
            if introduced != Some((session, code)) {
                let spec = job.spec.clone();
                let reads = stage.parents.iter().filter_map(|parent| spec.stages[*parent].output);
                let reads: Vec<_> = reads.collect();
                self.introduce(engine, session);
                self.send_code(engine, session, code);
                for output in reads {
                    self.send_places(engine, output);
                }
                introduced = Some((session, code));
            }
            let partitions = task.partitions.clone();
            let launched = Launched { session, job: task.job, stage: task.stage, code, engine, partitions };
            self.stir(&launched);
            self.launches.out.insert(task.attempt, launched);
            assignments.push(Assignment { task: task.clone(), session, code });
        }
        if !assignments.is_empty() {
            self.tell_engine(engine, ToEngine::Launch { tasks: assignments });
        }
    }

    fn send_code(&mut self, id: EngineId, session: SessionId, code: CodeId) {
        let Some(record) = self.known.codes.get(&code) else { return };
        let bytes = record.bytes.clone();
        if self.engines.all.get_mut(&id).is_some_and(|engine| engine.codes.insert(code)) {
            self.tell_engine(id, ToEngine::Code { session, code, bytes });
        }
    }

    /// Tells an engine which engines have the blocks of an output, unless it already knows.
    fn send_places(&mut self, id: EngineId, output: OutputId) {
        let version = self.known.moves.get(&output).copied().unwrap_or_default();
        match self.engines.all.get_mut(&id) {
            Some(engine) if engine.places.get(&output) != Some(&version) => engine.places.insert(output, version),
            _ => return,
        };
        let known = self.scheduler.places(output);
        let mut places = Places { partitions: known.len() as u32, runs: Vec::new() };
        for (partition, place) in (0u32..).zip(known) {
            let Some(at) = place.location() else { continue };
            match places.runs.last_mut() {
                Some((run, last)) if run.end == partition && *last == at => run.end += 1,
                _ => places.runs.push((Run::new(partition, partition + 1), at)),
            }
        }
        for engine in places.runs.iter().map(|(_, at)| at.engine).collect::<BTreeSet<_>>() {
            self.introduce_store(id, engine);
        }
        self.tell_engine(id, ToEngine::Places { output, places });
    }

    /// Tells engine `to` where another engine's blocks can be fetched, unless it already knows.
    pub(crate) fn introduce_store(&mut self, to: EngineId, engine: EngineId) {
        let Some(store) = self.engines.all.get(&engine).map(|engine| Box::new(engine.store.clone())) else { return };
        if self.engines.all.get_mut(&to).is_some_and(|to| to.peers.insert(engine)) {
            self.tell_engine(to, ToEngine::Peer { engine, store });
        }
    }

    pub(crate) fn task_done(
        &mut self,
        engine: EngineId,
        attempt: AttemptId,
        report: Report,
        results: Vec<(u32, ResultPart)>,
        span: (u64, u64),
    ) {
        let Some(launched) = self.launches.report(attempt, engine) else {
            // The hub does not know this launch, or has its report already. So what it made is not accepted.
            return self.tell_engine(engine, ToEngine::Discard { attempt });
        };
        if let CodeId::Output(output) = launched.code {
            self.known.moved(output);
            self.launches.made.push((output, launched.partitions.clone()));
        }
        self.note_task(&launched, attempt, span, Ok(&report));
        self.pace(engine, span.1.saturating_sub(span.0));
        if !results.is_empty() {
            self.launches.reported.insert(attempt, results);
        }
        self.events.push(Event::TaskDone { attempt, report });
    }

    pub(crate) fn task_failed(
        &mut self,
        engine: EngineId,
        attempt: AttemptId,
        mut failure: Failure<Error>,
        span: (u64, u64),
    ) {
        let Some(launched) = self.launches.report(attempt, engine) else {
            return;
        };
        match &mut failure {
            Failure::User(Error::User(fault)) | Failure::Panic(Error::User(fault)) => {
                fault.engine = Some(self.engines.name(engine));
            }
            Failure::Fetch(lost) => {
                let outputs: std::collections::BTreeSet<_> = lost.iter().map(|block| block.output).collect();
                for output in &outputs {
                    self.known.moved(*output);
                }
                let whys = outputs.iter().find_map(|output| self.known.unreadable.get(output));
                let text = format!(
                    "{} map outputs could not be read by {} and are recomputed{}",
                    lost.len(),
                    self.engines.name(engine),
                    whys.map_or(String::new(), |why| format!(": {why}"))
                );
                self.tell_job(launched.job, |_| ToDriver::Notice(text.clone()));
            }
            _ => {}
        }
        self.note_task(&launched, attempt, span, Err(&failure));
        self.events.push(Event::TaskFailed { attempt, failure });
    }

    /// The driver no longer holds the exchange of a code.
    pub(crate) fn release_code(&mut self, code: CodeId) {
        if let Some(record) = self.known.codes.get_mut(&code) {
            record.held = false;
            self.drop_code(code);
        }
    }

    /// A job that named a code is over.
    pub(crate) fn leave_code(&mut self, code: CodeId) {
        if let Some(record) = self.known.codes.get_mut(&code) {
            record.users = record.users.saturating_sub(1);
            self.drop_code(code);
        }
    }

    fn drop_code(&mut self, code: CodeId) {
        if self.known.codes.get(&code).is_some_and(|record| record.users == 0 && !record.held) {
            let gone = self.known.codes.remove(&code);
            if gone.is_some_and(|gone| matches!(gone.bytes, CodeBytes::AtHub { .. })) {
                self.untidy = true;
            }
            if let CodeId::Output(output) = code {
                self.forget_output(output);
            }
            for engine in self.engines.forget_code(code) {
                self.tell_engine(engine, ToEngine::ForgetCode { code });
            }
        }
    }
}
