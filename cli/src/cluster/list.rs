//! `tryworks cluster list`.

use crate::human;
use crate::out::Form;
use crate::place;
use crate::process::{Identity, Seen};
use crate::record::Record;
use crate::table::{Column, Table};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A cluster of this machine.
#[derive(Serialize)]
struct Row {
    name: String,
    /// `running`, `dead` (to be cleaned), `elsewhere` (of another machine or container that has the same directory),
    /// `unsupervised` (not made by `cluster start`), or `unreadable`.
    state: &'static str,
    directory: PathBuf,
    #[serde(flatten)]
    record: Option<Record>,
}

/// Lists the clusters of this machine. It asks no hub, so it works whatever state they are in.
pub fn execute(form: Form) -> anyhow::Result<()> {
    let row = |(name, directory): (String, PathBuf)| {
        let (state, record) = match Record::read(&directory) {
            Ok(Some(record)) => (state(&record.supervisor), Some(record)),
            Ok(None) => ("unsupervised", None),
            Err(_) => ("unreadable", None),
        };
        Row { name, state, directory, record }
    };
    let rows: Vec<Row> = place::all()?.into_iter().map(row).collect();
    form.print(&rows, |rows| table(rows))
}

fn state(supervisor: &Identity) -> &'static str {
    match supervisor.look() {
        Seen::Alive(_) => "running",
        Seen::Gone => "dead",
        Seen::Elsewhere => "elsewhere",
    }
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "there is no cluster on this machine; `tryworks cluster start` starts one\n".into();
    }
    let mut table = Table::new([
        ("NAME", Column::Flexible),
        ("STATE", Column::Left),
        ("SUPERVISOR", Column::Right),
        ("ENGINES", Column::Right),
        ("SLOTS", Column::Right),
        ("STARTED", Column::Right),
        ("DIRECTORY", Column::Flexible),
    ]);
    for Row { name, state, directory, record } in rows {
        let told = |what: fn(&Record) -> String| record.as_ref().map_or_else(|| "-".into(), what);
        table.row([
            name.clone(),
            (*state).into(),
            told(|record| record.supervisor.pid.to_string()),
            told(|record| record.options.engines.to_string()),
            told(|record| (record.options.engines * record.options.slots).to_string()),
            told(|record| human::between(record.started, None) + " ago"),
            Path::display(directory).to_string(),
        ]);
    }
    table.text()
}
