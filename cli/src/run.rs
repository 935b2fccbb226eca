//! `tryworks run`: replaces itself by the program, with the cluster in the environment.

use crate::{args, place};
use std::fmt;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The program cannot be started.
#[derive(Debug)]
pub struct NotStarted {
    program: String,
    error: std::io::Error,
}

impl NotStarted {
    /// The exit code of shells in this case: 127 if the file does not exist, 126 if it does.
    pub fn code(&self) -> u8 {
        if self.error.kind() == ErrorKind::NotFound { 127 } else { 126 }
    }
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be started: {}", self.program, self.error)?;
        write!(f, "\n  what to do: name an executable file, such as target/release/examples/word_count")
    }
}

impl std::error::Error for NotStarted {}

/// Replaces this process by the program. Returns only if that fails.
pub fn execute(run: args::Run) -> anyhow::Result<()> {
    let cluster = run.at.cluster()?;
    place::find(&cluster)?;
    let Some((program, arguments)) = run.program.split_first() else { return Ok(()) };
    let error = Command::new(program).args(arguments).env("TRYWORKS_CLUSTER", &cluster).exec();
    Err(NotStarted { program: program.display().to_string(), error }.into())
}
