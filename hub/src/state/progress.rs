//! The progress of jobs: counting their stages and tasks, telling drivers, and noting progress in the journal.

use super::Hub;
use super::jobs::{Job, Phase};
use super::launches::Launched;
use crate::journal::Entry;
use tryworks_base::ids::{AttemptId, JobId};
use tryworks_base::{Error, Progress};
use tryworks_protocol::admin::{JobRow, TaskRow};
use tryworks_protocol::driver::ToDriver;
use tryworks_scheduler::{Failure, JobSpec, Report, StageSpec};

/// How often progress is noted in the journal, in microseconds.
const NOTE_EVERY: u64 = 1_000_000;

impl Hub {
    /// The stages and partitions that a job has still to compute.
    pub(crate) fn work_of(&self, spec: &JobSpec) -> Progress {
        let made = |stage: &&StageSpec| {
            let places = stage.output.map_or(&[][..], |output| self.scheduler.places(output));
            places.is_empty() || !places.iter().all(|place| place.exists())
        };
        let runs: Vec<_> = spec.stages.iter().filter(made).collect();
        let maps = runs.iter().filter(|stage| stage.output.is_some());
        let maps: u64 = maps.map(|stage| u64::from(stage.partitions)).sum();
        Progress { stages: runs.len() as u32, partitions: maps + u64::from(spec.wanted.len()), ..Progress::default() }
    }

    pub(crate) fn stage_started(&mut self, job: JobId, stage: u32, attempt: u32, tasks: u32) {
        self.jobs.stir(job);
        let at = self.clock();
        self.out.note(Entry::StageBegan { job, stage, attempt, at, tasks });
    }

    pub(crate) fn stage_finished(&mut self, job: JobId, stage: u32, attempt: u32) {
        self.jobs.stir(job);
        let at = self.clock();
        self.out.note(Entry::StageEnded { job, stage, attempt, at });
    }

    /// Notes that the progress of a launch's job may have changed. If several jobs share its stage, this holds for all
    /// of them.
    pub(crate) fn stir(&mut self, launched: &Launched) {
        match self.known.codes.get(&launched.code).is_some_and(|code| code.users > 1) {
            true => self.jobs.stir_session(launched.session),
            false => self.jobs.stir(launched.job),
        }
    }

    /// Counts and notes how a task ended.
    pub(crate) fn note_task(
        &mut self,
        launched: &Launched,
        attempt: AttemptId,
        span: (u64, u64),
        end: Result<&Report, &Failure<Error>>,
    ) {
        self.stir(launched);
        let Some(job) = self.jobs.get_mut(&launched.job) else { return };
        let (mut rows, mut bytes) = (0, 0);
        match end {
            Ok(report) => {
                rows = report.partitions.iter().map(|made| made.rows).sum();
                bytes = report.partitions.iter().map(|made| made.bytes).sum();
                job.progress.partitions_done += u64::from(launched.partitions.len());
            }
            Err(Failure::Killed) => {}
            Err(_) => job.progress.failed += 1,
        }
        let error = end.err().map(|failure| match failure {
            Failure::User(error) | Failure::Panic(error) | Failure::Final(error) => error.to_string(),
            Failure::Fetch(lost) => format!("{} blocks could not be fetched", lost.len()),
            Failure::Killed => TaskRow::STOPPED.into(),
        });
        let row = TaskRow {
            stage: launched.stage,
            attempt: attempt.sequence(),
            first: launched.partitions.first(),
            partitions: launched.partitions.len(),
            engine: launched.engine,
            span,
            rows,
            bytes,
            error,
        };
        self.out.note(Entry::Task { job: launched.job, row });
    }

    pub(crate) fn tell_progress(&mut self) {
        let mut news = Vec::new();
        for id in self.jobs.take_stirred() {
            let Some(job) = self.jobs.get_mut(&id).filter(|job| job.end.is_none()) else { continue };
            if let Some(now) = self.scheduler.progress(id) {
                // The scheduler also counts stages that had nothing to do. They are not part of this job's work.
                let skipped = now.stages.saturating_sub(job.progress.stages);
                job.progress.stages_done = now.stages_done.saturating_sub(skipped);
                job.progress.running = now.tasks_running;
            }
            if job.reported != job.progress {
                job.reported = job.progress;
                news.push((id, job.progress));
            }
        }
        let now = self.clock();
        for (id, progress) in news {
            self.tell_job(id, |ticket| ToDriver::Progress { ticket, progress });
            if let Some(job) = self.jobs.get_mut(&id)
                && now.saturating_sub(job.noted) >= NOTE_EVERY
            {
                job.noted = now;
                self.out.note(Entry::Progress { job: id, progress });
            }
        }
    }

    pub(crate) fn job_row(&self, id: JobId, job: &Job) -> JobRow {
        let state = match &job.end {
            None if job.phase == Phase::Waiting => "waiting for engines",
            None => "running",
            Some(Ok(())) => "done",
            Some(Err(Error::Cancelled)) => "cancelled",
            Some(Err(_)) => "failed",
        };
        JobRow {
            job: id,
            label: job.spec.label.clone(),
            detached: job.detached.clone(),
            state: state.into(),
            submitted: job.submitted,
            ended: job.ended,
            progress: job.progress,
            error: job.end.as_ref().and_then(|end| end.as_ref().err()).map(ToString::to_string),
        }
    }
}
