//! The `tryworks` executable: starts and stops clusters, runs programs on them, and shows their jobs.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod cluster;
mod exit;
mod human;
mod jobs;
mod log;
mod out;
mod place;
mod process;
mod record;
mod remover;
mod run;
mod serve;
mod supervisor;
mod table;

use args::{Command, Tryworks};
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

fn main() -> ExitCode {
    match execute(Tryworks::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::tell(&error),
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Cluster(command) => cluster::execute(command),
        Command::Run(command) => run::execute(command),
        Command::Jobs(command) => jobs::list(command),
        Command::Job(command) => jobs::show(command),
        Command::Cancel(command) => jobs::cancel(command),
        Command::Why(command) => jobs::why(command),
        Command::Logs(command) => jobs::logs(command),
        Command::Hub(command) => serve::hub(command),
        Command::Engine(command) => serve::engine(command),
        Command::Remove { name } => remover::execute(&name),
        Command::Supervise(command) => supervisor::execute(&command.directory),
        Command::Completion { shell } => {
            let all = Tryworks::command();
            let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
            let mut command = clap::Command::new("tryworks").version(env!("CARGO_PKG_VERSION")).subcommands(shown);
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "tryworks", &mut script);
            out::print(String::from_utf8_lossy(&script))
        }
    }
}
