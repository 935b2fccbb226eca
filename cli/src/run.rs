//! `tryworks run`: replaces itself by the program, with the cluster in the environment.

use crate::exit::NotStarted;
use crate::{args, place};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Replaces this process by the program. Returns only if that fails.
pub fn execute(run: args::Run) -> anyhow::Result<()> {
    let cluster = run.at.cluster()?;
    place::find(&cluster)?;
    let Some((program, arguments)) = run.program.split_first() else { return Ok(()) };
    let error = Command::new(program).args(arguments).env("TRYWORKS_CLUSTER", &cluster).exec();
    Err(NotStarted { program: program.display().to_string(), error }.into())
}
