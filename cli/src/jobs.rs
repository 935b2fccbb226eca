//! Jobs and the output of their tasks: `tryworks jobs`, `job`, `cancel`, `why` and `logs`.

use crate::exit::{Exit, Failure};
use crate::table::{Column, Table};
use crate::{args, human, out, place};
use std::path::Path;
use std::time::Duration;
use tryworks_protocol::admin::{Answer, JobDetail, JobRow, LogRow, Question, WhyRow};
use tryworks_protocol::ask::Admin;
use tryworks_scheduler::Why;

/// Asks the hub of the cluster with this directory or connection file. If the hub refuses, that is an error.
pub fn ask(place: &Path, question: Question) -> anyhow::Result<Answer> {
    match Admin::connect(place)?.ask(question)? {
        Answer::No(why) => Err(anyhow::Error::msg(why)),
        answer => Ok(answer),
    }
}

/// Gives an order to a hub, and prints its answer.
pub fn order(at: &args::At, question: Question) -> anyhow::Result<()> {
    match ask(&place::find(&at.cluster()?)?, question)? {
        Answer::Done(text) => out::print(text.trim_end().to_string() + "\n"),
        other => Err(unexpected(&other)),
    }
}

/// The error for an answer that does not fit the question.
pub fn unexpected(answer: &Answer) -> anyhow::Error {
    let what = format!("the hub's answer does not fit the question: {answer:.60?}");
    Failure::of(Exit::Failed, what, "this is a bug in Tryworks: please report it")
}

/// Lists the latest jobs.
pub fn list(command: args::Jobs) -> anyhow::Result<()> {
    match ask(&place::find(&command.at.cluster()?)?, Question::Jobs { limit: command.limit })? {
        Answer::Jobs(jobs) => command.output.form.print(&jobs, |jobs| match jobs.is_empty() {
            true => "there is no job yet\n".into(),
            false => table(jobs),
        }),
        other => Err(unexpected(&other)),
    }
}

/// Jobs as a table; nothing if there are none.
pub fn table(jobs: &[JobRow]) -> String {
    if jobs.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        ("JOB", Column::Right),
        ("WHAT", Column::Flexible),
        ("STATE", Column::Left),
        ("STAGES", Column::Right),
        ("PARTITIONS", Column::Right),
        ("TIME", Column::Right),
        ("SUBMITTED", Column::Right),
    ]);
    for job in jobs {
        let progress = &job.progress;
        table.row([
            job.job.0.to_string(),
            name(job),
            job.state.clone(),
            format!("{}/{}", progress.stages_done, progress.stages),
            format!("{}/{}", progress.partitions_done, progress.partitions),
            human::between(job.submitted, job.ended),
            human::between(job.submitted, None) + " ago",
        ]);
    }
    table.text()
}

fn name(job: &JobRow) -> String {
    match &job.detached {
        Some(name) => format!("{name}: {}", job.label),
        None => job.label.clone(),
    }
}

/// Shows a job.
pub fn show(command: args::Job) -> anyhow::Result<()> {
    match ask(&place::find(&command.at.cluster()?)?, Question::Job { name: command.job })? {
        Answer::Job(job) => command.output.form.print(&job, detail),
        other => Err(unexpected(&other)),
    }
}

fn detail(detail: &JobDetail) -> String {
    let JobDetail { job, stages, tasks } = detail;
    let progress = &job.progress;
    let mut text = format!(
        "{}: {}\n{}, {} after it was submitted {} ago; {}/{} partitions, {}, {}\n",
        job.job,
        name(job),
        job.state,
        human::between(job.submitted, job.ended),
        human::between(job.submitted, None),
        progress.partitions_done,
        progress.partitions,
        human::count(progress.running, "task") + " running",
        human::count(progress.failed, "failed attempt"),
    );
    if let Some(error) = &job.error {
        text += &format!("\n{}\n", error.trim_end());
    }
    if !stages.is_empty() {
        let mut table = Table::new([
            ("STAGE", Column::Right),
            ("BEGAN", Column::Right),
            ("TASKS", Column::Right),
            ("FAILED", Column::Right),
            ("TIME", Column::Right),
            ("BUSY", Column::Right),
            ("ROWS", Column::Right),
            ("BYTES", Column::Right),
        ]);
        for stage in stages {
            table.row([
                stage.stage.to_string(),
                stage.attempts.to_string() + "x",
                stage.tasks.to_string(),
                stage.failed.to_string(),
                stage.began.map_or_else(|| "-".into(), |began| human::between(began, stage.ended)),
                human::time(Duration::from_micros(stage.busy)),
                stage.rows.to_string(),
                human::bytes(stage.bytes),
            ]);
        }
        text += &format!("\n{}", table.text());
    }
    if !tasks.is_empty() {
        let mut table = Table::new([
            ("STAGE", Column::Right),
            ("PARTITIONS", Column::Right),
            ("ENGINE", Column::Right),
            ("TIME", Column::Right),
            ("ROWS", Column::Right),
            ("BYTES", Column::Right),
            ("ERROR", Column::Flexible),
        ]);
        for task in tasks {
            table.row([
                task.stage.to_string(),
                match task.partitions {
                    0 | 1 => task.first.to_string(),
                    n => format!("{}..{}", task.first, u64::from(task.first) + u64::from(n)),
                },
                task.engine.0.to_string(),
                human::between(task.span.0, Some(task.span.1)),
                task.rows.to_string(),
                human::bytes(task.bytes),
                task.error.clone().unwrap_or_default(),
            ]);
        }
        text += &format!("\nlast tasks\n{}", table.text());
    }
    text
}

/// Stops a job.
pub fn cancel(command: args::Cancel) -> anyhow::Result<()> {
    order(&command.at, Question::Cancel { name: command.job })
}

/// Says why tasks wait.
pub fn why(command: args::Why) -> anyhow::Result<()> {
    match ask(&place::find(&command.at.cluster()?)?, Question::Why { name: command.job })? {
        Answer::Why(rows) => command.output.form.print(&rows, |rows| reasons(rows)),
        other => Err(unexpected(&other)),
    }
}

fn reasons(rows: &[WhyRow]) -> String {
    if rows.is_empty() {
        return "no task of the job waits\n".into();
    }
    let mut table = Table::new([
        ("STAGE", Column::Right),
        ("PARTITIONS", Column::Right),
        ("EXAMPLE", Column::Right),
        ("WHY", Column::Flexible),
    ]);
    for row in rows {
        let why = match row.why {
            Why::Dependency { stage, missing } => format!("stage {stage} still has {missing} partitions to make"),
            Why::NoEngine => "there is no engine".into(),
            Why::Queue => "engines are busy".into(),
            Why::Share => "engines are busy with other pools".into(),
            Why::Alone => "may kill its worker: waits to run alone".into(),
            Why::Excluded => "all engines are excluded".into(),
            Why::Unfit => "the engines with free slots cannot run the program".into(),
            Why::Memory => "all engines are short of memory".into(),
            Why::Draining => "all engines were asked to leave".into(),
            Why::NotNeeded => "nothing needs it now".into(),
        };
        table.row([row.stage.to_string(), row.partitions.to_string(), row.example.to_string(), why]);
    }
    let mut text = table.text();
    // Not in the table, which may shorten it.
    let missed: std::collections::BTreeSet<_> = rows.iter().flat_map(|row| &row.waits_for).collect();
    for words in missed {
        text += &format!("{words}\n");
    }
    text
}

/// Shows what tasks wrote.
pub fn logs(command: args::Logs) -> anyhow::Result<()> {
    let question = Question::Logs { engine: command.engine, job: command.job };
    match ask(&place::find(&command.at.cluster()?)?, question)? {
        Answer::Logs(rows) => command.output.form.print(&rows, |rows| lines(rows)),
        other => Err(unexpected(&other)),
    }
}

/// Each line with its engine, the worker's process, and `!` for the standard error output.
fn lines(rows: &[LogRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let mark = if row.stderr { '!' } else { '|' };
        text += &format!("{} {} {mark} {}\n", row.engine, row.worker, row.text.trim_end_matches('\r'));
    }
    text
}
