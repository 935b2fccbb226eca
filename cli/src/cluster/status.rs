//! `tryworks cluster status`.

use crate::jobs::{self, ask, unexpected};
use crate::table::{Column, Table};
use crate::{args, human, place};
use std::time::Duration;
use tryworks_protocol::admin::{Answer, Question, Status};

/// Shows the engines and the running jobs of a cluster.
pub fn execute(command: &args::Status) -> anyhow::Result<()> {
    match ask(&place::find(&command.at.cluster()?)?, Question::Status)? {
        Answer::Status(status) => command.output.form.print(&status, table),
        other => Err(unexpected(&other)),
    }
}

fn table(status: &Status) -> String {
    let slots: u32 = status.engines.iter().map(|engine| engine.slots).sum();
    let mut text = format!(
        "cluster `{}`: {}, {}, {}\nhub: process {}, up {}, {} of memory",
        status.cluster,
        human::count(status.engines.len() as u64, "engine"),
        human::count(slots, "slot"),
        human::count(status.drivers, "driver"),
        status.pid,
        human::time(Duration::from_millis(status.up_ms)),
        human::bytes(status.resident),
    );
    if status.epoch > 1 {
        text += &format!(", begun {} times", status.epoch);
    }
    text.push('\n');
    if let Some(trouble) = &status.journal {
        text += &format!("the journal cannot be written, so that jobs are lost should the hub die: {trouble}\n");
    }
    if !status.engines.is_empty() {
        text.push('\n');
        text += &engines(status);
    }
    text += match status.running.is_empty() {
        true => "\nno job runs\n",
        false => "\n",
    };
    text + &jobs::table(&status.running)
}

fn engines(status: &Status) -> String {
    let mut table = Table::new([
        ("ID", Column::Right),
        ("ENGINE", Column::Flexible),
        ("HOST", Column::Flexible),
        ("BUSY", Column::Right),
        ("MEMORY", Column::Right),
        ("USED", Column::Right),
        ("BLOCKS", Column::Right),
        ("STATE", Column::Left),
    ]);
    for engine in &status.engines {
        table.row([
            engine.engine.0.to_string(),
            engine.name.clone(),
            engine.host.name.clone(),
            format!("{}/{}", engine.running, engine.slots),
            human::bytes(engine.memory),
            human::bytes(engine.resident),
            human::bytes(engine.blocks),
            engine.state.clone(),
        ]);
    }
    table.text()
}
