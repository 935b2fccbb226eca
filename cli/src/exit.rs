//! How commands end: their exit codes, and what they print when they fail.

use std::fmt;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use tryworks_base::outlet;
use tryworks_protocol::ask::AdminError;

/// Why a command failed, as an exit code. Zero means success, and `run` passes on the code of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The job or the request failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There is no such cluster, or it cannot be reached.
    NoCluster = 3,
    /// Something took too long.
    TimedOut = 4,
}

/// A failure for people: what, and what to do.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    advice: String,
}

impl Failure {
    /// An error with its exit code: what went wrong, and what to do about it.
    pub fn of(exit: Exit, what: impl fmt::Display, advice: impl fmt::Display) -> anyhow::Error {
        Failure { exit, what: what.to_string(), advice: advice.to_string() }.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  what to do: {}", self.what, self.advice)
    }
}

impl std::error::Error for Failure {}

/// The program cannot be started.
#[derive(Debug)]
pub struct NotStarted {
    /// The program, as the user named it.
    pub program: String,
    /// Why it cannot.
    pub error: io::Error,
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

/// Prints what went wrong on standard error, and returns the exit code.
pub fn tell(error: &anyhow::Error) -> ExitCode {
    outlet::ERR.write(format!("error: {error:#}\n").as_bytes());
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.exit as u8;
    }
    if let Some(error) = error.downcast_ref::<NotStarted>() {
        return error.code();
    }
    let exit = match error.downcast_ref::<AdminError>() {
        Some(AdminError::Unreachable { .. }) => Exit::NoCluster,
        Some(AdminError::Silent { .. }) => Exit::TimedOut,
        _ => Exit::Failed,
    };
    exit as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn codes_tell_failures_apart() {
        let silent = AdminError::Silent { place: "x".into() };
        let gone = AdminError::Unreachable { place: "x".into(), why: "no socket".into() };
        assert_eq!(code(&silent.into()), 4);
        assert_eq!(code(&gone.into()), 3);
        assert_eq!(code(&Failure::of(Exit::Usage, "a", "b")), 2);
        assert_eq!(code(&Err::<(), _>(Failure::of(Exit::NoCluster, "a", "b")).context("around").unwrap_err()), 3);
        assert_eq!(code(&anyhow::anyhow!("anything")), 1);
    }
}
