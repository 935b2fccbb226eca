//! The latest output of workers: for people who ask for it, and for drivers that were cut off.

use super::Hub;
use crate::journal::Ran;
use std::collections::{BTreeMap, VecDeque};
use tryworks_base::ids::{EngineId, JobId, SessionId};
use tryworks_protocol::admin::LogRow;
use tryworks_protocol::driver::ToDriver;
use tryworks_protocol::engine::ToEngine;
use tryworks_protocol::output::{Heard, Written};

/// How much of the workers' output is kept, in bytes.
const LOG_BYTES: usize = 1 << 20;

/// The latest output of workers.
#[derive(Default)]
pub(crate) struct Recent {
    log: VecDeque<Said>,
    bytes: usize,
}

/// A piece of output.
struct Said {
    engine: EngineId,
    session: SessionId,
    /// The job whose task wrote it, if only one task was running.
    job: Option<JobId>,
    /// When the piece arrived.
    at: u64,
    written: Written,
}

impl Ran {
    /// Whether a piece belongs to this job. A worker writes the output of all its tasks to one pipe. If the task is
    /// unknown, the time decides.
    fn wrote(&self, said: &Said) -> bool {
        let in_time = said.at >= self.from && self.to.is_none_or(|to| said.at <= to);
        said.session == self.session && said.job.map_or(in_time, |job| job == self.job)
    }
}

impl Hub {
    /// Keeps a piece of output.
    pub(crate) fn log(&mut self, engine: EngineId, session: SessionId, written: &Written) {
        let launched = written.attempt.and_then(|attempt| self.launches.out.get(&attempt));
        let job = launched.map(|launched| launched.job);
        self.recent.add(Said { engine, session, job, at: self.clock(), written: written.clone() });
    }

    /// The driver has acknowledged output of one of its workers, or the hub acknowledges it for a driver that is not
    /// connected.
    pub(crate) fn heard(&mut self, session: SessionId, heard: Heard) {
        let left_out = self.under_way.heard(session, &heard);
        for written in left_out {
            self.show(session, written);
        }
        let Heard { engine, run, stderr, offset } = heard;
        self.tell_engine(engine, ToEngine::Heard { session, run, stderr, offset });
    }

    /// Sends a piece of output to a driver if the bounds on output under way allow it.
    pub(crate) fn show(&mut self, session: SessionId, written: Written) {
        if self.under_way.admit(session, &written) {
            self.tell_driver(session, ToDriver::Output(written));
        }
    }

    /// The driver's connection ended: output that was under way may be lost.
    pub(crate) fn unheard(&mut self, session: SessionId) {
        self.under_way.lost(session);
        for engine in self.engines.ids() {
            self.tell_engine(engine, ToEngine::Unheard { session });
        }
    }

    /// Sends a driver that was cut off the latest output of its tasks again. By the offsets, the driver knows which
    /// part it already has.
    pub(crate) fn say_again(&mut self, session: SessionId) {
        let own = self.recent.log.iter().filter(|said| said.session == session);
        let own: Vec<_> = own.map(|said| said.written.clone()).collect();
        for written in own {
            self.show(session, written);
        }
    }
}

impl Recent {
    fn add(&mut self, said: Said) {
        self.bytes += said.written.size();
        self.log.push_back(said);
        while self.bytes > LOG_BYTES
            && let Some(oldest) = self.log.pop_front()
        {
            self.bytes -= oldest.written.size();
        }
    }

    /// The kept lines of one engine or all, and of one job or all.
    pub(crate) fn lines(&self, engine: Option<EngineId>, ran: Option<Ran>) -> Vec<LogRow> {
        let mut lines = Lines::default();
        for said in &self.log {
            if engine.is_none_or(|engine| engine == said.engine) && ran.is_none_or(|ran| ran.wrote(said)) {
                lines.add(&said.written);
            }
        }
        lines.finish()
    }
}

/// An output whose last line is unfinished: its latest piece, where that ended, and the beginning of the line.
struct Open<'a> {
    of: &'a Written,
    end: u64,
    line: Vec<u8>,
}

/// Joins pieces of output into lines. Lines are in the order in which their ends arrived.
#[derive(Default)]
struct Lines<'a> {
    rows: Vec<LogRow>,
    open: BTreeMap<(u64, bool), Open<'a>>,
}

impl<'a> Lines<'a> {
    fn add(&mut self, written: &'a Written) {
        let key = (written.run, written.stderr);
        let before = self.open.remove(&key);
        let (end, mut line) = before.map_or((written.offset, Vec::new()), |open| (open.end, open.line));
        if end < written.offset && !line.is_empty() {
            // The bytes between the two pieces are no longer kept.
            self.row(written, &std::mem::take(&mut line));
        }
        // An engine that was cut off sends some pieces twice.
        let known = end.saturating_sub(written.offset).min(written.bytes.len() as u64);
        for piece in written.bytes[known as usize..].split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if let Some(whole) = line.strip_suffix(b"\n") {
                self.row(written, whole);
                line.clear();
            }
        }
        let end = end.max(written.offset + written.bytes.len() as u64);
        self.open.insert(key, Open { of: written, end, line });
    }

    fn row(&mut self, of: &Written, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        self.rows.push(LogRow { engine: of.name.clone(), worker: of.worker, stderr: of.stderr, text });
    }

    /// The lines, with the unfinished ones last.
    fn finish(mut self) -> Vec<LogRow> {
        for Open { of, line, .. } in std::mem::take(&mut self.open).into_values() {
            if !line.is_empty() {
                self.row(of, &line);
            }
        }
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(3);

    fn said(worker: u32, at: u64, offset: u64, text: &str) -> Said {
        let (engine, name, bytes) = (EngineId(1), "e1".into(), text.into());
        let run = worker.into();
        let written = Written { engine, name, run, worker, stderr: false, offset, attempt: None, bytes };
        Said { engine, session: SESSION, job: None, at, written }
    }

    fn texts(recent: &Recent, ran: Option<Ran>) -> Vec<String> {
        recent.lines(None, ran).into_iter().map(|row| format!("{} {}", row.worker, row.text)).collect()
    }

    #[test]
    fn a_line_that_arrives_in_pieces_is_one_row() {
        let mut recent = Recent::default();
        // Pieces of a line, with another worker's pieces in between, and one piece sent twice.
        recent.add(said(7, 1, 0, "a lo"));
        recent.add(said(8, 1, 0, "other\nhalf"));
        recent.add(said(7, 1, 4, "ng line\r\nnext"));
        recent.add(said(7, 1, 4, "ng line\r\nnext"));
        recent.add(said(7, 1, 17, " one\n\n"));
        assert_eq!(texts(&recent, None), ["8 other", "7 a long line\r", "7 next one", "7 ", "8 half"]);
        // Bytes that are no longer kept are part of no line.
        recent.add(said(8, 1, 500, "later\n"));
        assert_eq!(texts(&recent, None)[4..], ["8 half", "8 later"]);
    }

    #[test]
    fn a_reused_process_number_does_not_join_the_lines_of_two_workers() {
        let mut recent = Recent::default();
        recent.add(said(7, 1, 0, "the first says much\nand no end"));
        let mut second = said(7, 2, 0, "second\n");
        second.written.run = 8;
        recent.add(second);
        assert_eq!(texts(&recent, None), ["7 the first says much", "7 second", "7 and no end"]);
    }

    #[test]
    fn output_belongs_to_the_job_of_its_task_or_by_time_if_the_task_is_unknown() {
        let mut recent = Recent::default();
        for at in 1..=4 {
            recent.add(said(at as u32, at, 0, "line\n"));
        }
        recent.log[0].job = Some(JobId(9));
        recent.log[2].job = Some(JobId(8));
        let ran = |to| Ran { job: JobId(9), session: SESSION, from: 2, to };
        assert_eq!(texts(&recent, Some(ran(Some(3)))), ["1 line", "2 line"]);
        assert_eq!(texts(&recent, Some(ran(None))), ["1 line", "2 line", "4 line"]);
        assert!(texts(&recent, Some(Ran { session: SessionId(4), job: JobId(7), ..ran(None) })).is_empty());
    }

    #[test]
    fn kept_output_is_bounded() {
        let kept = |len: usize| {
            let mut recent = Recent::default();
            let pieces = (LOG_BYTES / len) as u64 * 2;
            (0..pieces).for_each(|at| recent.add(said(1, at, at * len as u64, &("x".repeat(len - 1) + "\n"))));
            recent.log.len()
        };
        let size = said(1, 0, 0, "").written.size();
        assert_eq!(kept(10_000), LOG_BYTES / (10_000 + size));
        // Many small pieces take more memory than their bytes.
        assert_eq!(kept(1), LOG_BYTES / (1 + size));
    }
}
