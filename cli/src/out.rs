//! What commands print.

use clap::ValueEnum;
use serde::Serialize;
use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};

/// The format of printed results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    // For people, at most 80 columns wide. (Documentation on these variants would spread every help text over many
    // lines.)
    #[default]
    Table,
    // Everything, for programs.
    Json,
}

impl Form {
    /// Prints rows as JSON, or as the text that `table` makes of them.
    pub fn print<T: Serialize>(self, rows: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        match self {
            Form::Table => print(table(rows)),
            Form::Json => print(serde_json::to_string_pretty(rows)? + "\n"),
        }
    }
}

/// Prints text. If the reader has seen enough, such as `head`, that is no error.
pub fn print(text: impl Display) -> anyhow::Result<()> {
    let mut to = stdout().lock();
    match to.write_all(text.to_string().as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}
