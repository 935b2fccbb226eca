//! What a supervisor tells the command that started it.

use crate::exit::{Exit, Failure};
use serde::{Deserialize, Serialize};

/// What a supervisor reports when its cluster runs, or cannot run.
#[derive(Debug, Serialize, Deserialize)]
pub enum Started {
    /// All processes are ready.
    Ready,
    /// The cluster cannot be started; everything was stopped and removed again.
    Failed {
        /// What went wrong.
        what: String,
        /// What to do.
        advice: String,
        /// Whether a time limit was the reason.
        late: bool,
    },
}

impl Started {
    /// The result of the command.
    pub fn check(self) -> anyhow::Result<()> {
        match self {
            Started::Ready => Ok(()),
            Started::Failed { what, advice, late } => {
                Err(Failure::of(if late { Exit::TimedOut } else { Exit::Failed }, what, advice))
            }
        }
    }
}
