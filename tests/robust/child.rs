//! Starts this test program again as a process of its own, to be watched, damaged or killed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Set in a child: its role.
const ROLE: &str = "TRYWORKS_TEST_ROLE";

/// The role of this process, if it is a child.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// A child process that runs one test of this program; killed when dropped.
pub struct Process {
    pub child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts the test `name` in a process with a role, which the test asks for.
    pub fn start(name: &str, role: &str) -> Self {
        Process::start_program(std::env::current_exe().unwrap().as_os_str(), name, role)
    }

    /// The same with another executable.
    pub fn start_program(program: &std::ffi::OsStr, name: &str, role: &str) -> Self {
        Process::start_command(Command::new(program), name, role)
    }

    /// The same test program in another directory.
    pub fn start_in(dir: &std::path::Path, name: &str, role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.current_dir(dir);
        Process::start_command(command, name, role)
    }

    /// The same, by a command that runs its arguments.
    pub fn start_command(mut command: Command, name: &str, role: &str) -> Self {
        command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(ROLE, role).env("RUST_BACKTRACE", "0");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        Process { child, lines }
    }

    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Waits for a line that begins with `word`, and returns the rest of it.
    #[track_caller]
    pub fn line(&mut self, word: &str) -> String {
        self.lines
            .as_mut()
            .unwrap()
            .lines()
            .map(|line| line.unwrap())
            .find_map(|line| told(&line, word))
            .unwrap_or_else(|| panic!("the process ended before it said `{word}`"))
    }

    /// Waits for the end, and returns the rest of the output.
    #[track_caller]
    pub fn ends_well(mut self) -> String {
        let mut rest = String::new();
        self.lines.take().unwrap().read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {rest}");
        rest
    }

    /// The anonymous memory that the process holds now, in bytes.
    pub fn anonymous(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().unwrap() * 1024)
    }
}

/// The text after `word` in a line: the harness may have begun the line.
fn told(line: &str, word: &str) -> Option<String> {
    line.split_once(word).map(|(_, rest)| rest.trim().to_string())
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
