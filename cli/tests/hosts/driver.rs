//! The driver programs: this test executable, started again on a host.

use crate::host::{Host, Running};
use std::fs;
use std::path::{Path, PathBuf};

/// Set in a driver and its workers: the role of the process.
const ROLE: &str = "TRYWORKS_TEST_ROLE";
/// A directory of the test's own, visible to all its processes, for tokens of faults.
const TOKENS: &str = "TRYWORKS_TEST_TOKENS";

/// The role of this process, if it is a driver or a worker.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Starts the test `name` on a host as a driver, from a program that exists only on this host.
pub fn drive(host: &Host, hub: &Host, name: &str, role: &str) -> Running {
    drive_with(host, hub, name, role, &[])
}

/// The same with more variables in its environment.
pub fn drive_with(host: &Host, hub: &Host, name: &str, role: &str, more: &[(&str, &Path)]) -> Running {
    if host.name != hub.name && !host.seen("hub/driver.json").exists() {
        host.copy(hub, "hub/driver.json");
    }
    let program = host.path("program");
    if !host.seen("program").exists() {
        fs::copy(std::env::current_exe().unwrap(), host.seen("program")).unwrap();
    }
    let mut command = host.command("env");
    command.arg(format!("TRYWORKS_CLUSTER={}", host.path("hub/driver.json").display())).arg(format!("{ROLE}={role}"));
    command.args(more.iter().map(|(name, value)| format!("{name}={}", value.display())));
    command.arg(program).args(["--exact", name, "--nocapture", "--test-threads=1"]);
    Running::start(command)
}

/// The variable by which the processes of a test find its tokens.
pub fn tokens(directory: &Path) -> (&'static str, &Path) {
    (TOKENS, directory)
}

/// The path of a token.
pub fn token(name: &str) -> PathBuf {
    PathBuf::from(std::env::var(TOKENS).unwrap()).join(name)
}
