//! An example of every question of an administrator, and of every answer.

use super::{host, progress};
use crate::admin::{Answer, EngineRow, JobDetail, JobRow, LogRow, Question, StageRow, Status, TaskRow, WhyRow};
use tryworks_base::ids::{EngineId, JobId};
use tryworks_scheduler::Why;

pub(crate) fn questions() -> Vec<Question> {
    let name = || String::from("1");
    vec![
        Question::Why { name: name() },
        Question::Status,
        Question::Jobs { limit: 1 },
        Question::Job { name: name() },
        Question::Cancel { name: name() },
        Question::Logs { engine: Some("e".into()), job: Some("j".into()) },
        Question::Drain { engine: "e".into() },
        Question::Rotate,
        Question::Stop,
    ]
}

pub(crate) fn answers() -> Vec<Answer> {
    let job = || JobRow {
        job: JobId(1),
        label: "l".into(),
        detached: Some("d".into()),
        state: "failed".into(),
        submitted: 1,
        ended: Some(2),
        progress: progress(),
        error: Some("e".into()),
    };
    let engine = EngineRow {
        engine: EngineId(1),
        name: "e".into(),
        host: host(),
        slots: 1,
        running: 2,
        memory: 3,
        resident: 4,
        blocks: 5,
        state: "open".into(),
    };
    let status = Status {
        cluster: "c".into(),
        pid: 1,
        up_ms: 2,
        epoch: 3,
        resident: 4,
        engines: vec![engine],
        running: vec![job()],
        journal: Some("full".into()),
        drivers: 5,
    };
    let stage = StageRow {
        stage: 1,
        attempts: 2,
        began: Some(3),
        ended: Some(4),
        tasks: 5,
        failed: 6,
        busy: 7,
        rows: 8,
        bytes: 9,
    };
    let task = TaskRow {
        stage: 1,
        attempt: 2,
        first: 3,
        partitions: 4,
        engine: EngineId(5),
        span: (6, 7),
        rows: 8,
        bytes: 9,
        error: Some("e".into()),
    };
    let waits_for = vec!["driver 1".into()];
    let why = WhyRow { stage: 1, partitions: 2, example: 3, why: Why::Queue, waits_for };
    vec![
        Answer::Status(status),
        Answer::Jobs(vec![job()]),
        Answer::Job(JobDetail { job: job(), stages: vec![stage], tasks: vec![task] }),
        Answer::Done("d".into()),
        Answer::Why(vec![why]),
        Answer::Logs(vec![LogRow { engine: "e".into(), worker: 1, stderr: true, text: "t".into() }]),
        Answer::No("no".into()),
    ]
}
