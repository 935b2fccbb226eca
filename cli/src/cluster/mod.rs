//! `tryworks cluster`: clusters of this machine.

mod claim;
mod clean;
mod list;
mod start;
mod status;
mod stop;

use crate::args::Cluster;
use crate::jobs;
use tryworks_protocol::admin::Question;

/// Executes the command.
pub fn execute(command: Cluster) -> anyhow::Result<()> {
    match command {
        Cluster::Start(command) => start::execute(&command),
        Cluster::Stop(at) => stop::execute(&at),
        Cluster::List(output) => list::execute(output.form),
        Cluster::Status(command) => status::execute(&command),
        Cluster::Clean => clean::execute(),
        Cluster::Rotate(at) => jobs::order(&at, Question::Rotate),
        Cluster::Drain(command) => jobs::order(&command.at, Question::Drain { engine: command.engine }),
    }
}
