//! A home for the clusters of one test, which are stopped however the test ends.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use tryworks_testing::until;

/// A home of clusters.
pub struct Home {
    directory: tempfile::TempDir,
}

/// The outcome of a command.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Home {
    pub fn new() -> Self {
        Home::on(&std::env::temp_dir())
    }

    /// A home in another directory, such as that of a disk.
    pub fn on(place: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("tw").tempdir_in(place).unwrap();
        fs::DirBuilder::new().mode(0o700).create(directory.path().join("h")).unwrap();
        Home { directory }
    }

    /// The executable, with this home in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tryworks"));
        command.args(arguments).env("TRYWORKS_HOME", self.clusters()).env_remove("TRYWORKS_CLUSTER");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
    }

    /// Runs a command that has to succeed, and returns its output.
    pub fn good(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.code, 0, "{arguments:?}\n{}{}", done.out, done.err);
        done.out
    }

    /// The output of a command with `-o json`.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.good(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// The directory of a cluster.
    pub fn cluster(&self, name: &str) -> PathBuf {
        self.clusters().join(name)
    }

    fn clusters(&self) -> PathBuf {
        self.directory.path().join("h")
    }

    /// The names of everything in the home.
    pub fn entries(&self) -> Vec<String> {
        // A separate process removes what is in there.
        let removed = self.cluster(".removed");
        until("what clusters left is removed", || (!removed.exists()).then_some(()));
        self.listed()
    }

    fn listed(&self) -> Vec<String> {
        let entries = fs::read_dir(self.clusters()).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for name in self.listed() {
            let _ = self.run(&["cluster", "stop", "--name", &name]);
        }
    }
}

/// This machine, as the executable records it.
pub fn host() -> serde_json::Value {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_string();
    serde_json::json!({
        "name": text("/proc/sys/kernel/hostname"),
        "machine": text("/etc/machine-id"),
        "boot": text("/proc/sys/kernel/random/boot_id"),
        "processes": fs::read_link("/proc/self/ns/pid").unwrap(),
    })
}

/// A process by its number and start time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Process {
    pub pid: u64,
    pub start_time: u64,
}

impl Process {
    /// The process that a JSON object names.
    pub fn of(json: &serde_json::Value) -> Self {
        Process { pid: json["pid"].as_u64().unwrap(), start_time: json["start_time"].as_u64().unwrap() }
    }

    /// The process that a pid file names, if the file exists.
    pub fn in_file(path: &Path) -> Option<Self> {
        Some(Process::of(&serde_json::from_str(&fs::read_to_string(path).ok()?).unwrap()))
    }

    /// The process, as the executable records it.
    pub fn json(self) -> serde_json::Value {
        serde_json::json!({ "pid": self.pid, "start_time": self.start_time, "host": host() })
    }

    pub fn lives(self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else { return false };
        let fields = fields(&stat);
        fields[0] != "Z" && fields[19] == self.start_time.to_string()
    }

    pub fn kill(self) {
        assert!(self.lives());
        let pid = rustix::process::Pid::from_raw(self.pid as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        until("it is dead", || (!self.lives()).then_some(()));
    }
}

/// A child of the test, which ends with it.
pub struct Bystander(pub Child);

impl Bystander {
    pub fn sleep() -> Self {
        Bystander(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    pub fn process(&self) -> Process {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        Process { pid: self.0.id().into(), start_time: fields(&stat)[19].parse().unwrap() }
    }

    /// How it ended; it has ended already or is about to.
    pub fn end(&mut self) -> String {
        self.0.wait().unwrap().to_string()
    }

    pub fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The fields of `/proc/PID/stat` after the name, from the state on.
fn fields(stat: &str) -> Vec<String> {
    stat.rsplit_once(')').unwrap().1.split_whitespace().map(String::from).collect()
}
