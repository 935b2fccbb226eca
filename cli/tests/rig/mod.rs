//! A cluster of real processes for one test: it is started, watched, damaged, stopped, and cleaned up.
//!
//! The driver is the test's own executable, started again to run the same test, which then acts as the program. Tasks
//! and test share a directory with three kinds of files. Marks count what ran. Tokens let something happen a given
//! number of times in the whole cluster. Gates hold tasks until the test opens them.

mod driver;
mod files;
mod shared;

pub use driver::{Done, Driver, driving};
pub use files::{all_below, is_program};
pub use shared::{claim, gate, mark, path};
pub use tryworks_testing::{DEADLINE, SmallDisk, until};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shared::Shared;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The name of the calling test, as the harness knows it.
#[macro_export]
macro_rules! here {
    () => {{
        fn inside() {}
        let name = std::any::type_name_of_val(&inside);
        let name = name.strip_suffix("::inside").unwrap();
        name.split_once("::").unwrap().1
    }};
}

/// A cluster.
pub struct Cluster {
    directory: TempDir,
    pub shared: Shared,
    environment: Vec<(String, String)>,
    /// Processes without a supervisor.
    pub children: Vec<(String, Child)>,
}

/// How to start an engine by hand.
#[derive(Clone, Copy, Default)]
pub struct Engine<'a> {
    pub slots: u32,
    /// The most bytes that it and its workers may map.
    pub address_space: Option<u64>,
    pub quota: Option<&'a str>,
    pub memory: Option<&'a str>,
    /// Its directory, if it is given one.
    pub directory: Option<&'a Path>,
    /// More variables for its environment.
    pub environment: &'a [(&'a str, &'a str)],
}

impl Cluster {
    fn new(place: &Path, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("tw").tempdir_in(place).unwrap();
        for name in ["h", "t", "l"] {
            fs::DirBuilder::new().mode(0o700).create(directory.path().join(name)).unwrap();
        }
        let shared = Shared(directory.path().join("t"));
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Cluster { shared, directory, environment: environment.collect(), children: Vec::new() }
    }

    /// Engines with a supervisor that restarts them.
    pub fn start(engines: u32, slots: u32) -> Self {
        let cluster = Cluster::new(Path::new("/tmp"), &[]);
        let (engines, slots) = (engines.to_string(), slots.to_string());
        cluster.good(&["cluster", "start", "-n", &engines, "--slots", &slots, "--memory", "1G"]);
        cluster
    }

    /// A hub and engines that are not restarted, with more variables in their environment.
    pub fn by_hand(engines: u32, slots: u32, environment: &[(&str, &str)]) -> Self {
        let mut cluster = Cluster::new(Path::new("/tmp"), environment);
        cluster.begin_hub();
        for number in 1..=engines {
            cluster.add(&format!("engine-{number}"), Engine { slots, ..Engine::default() });
        }
        cluster.wait_for_engines(engines as usize);
        cluster
    }

    /// A hub, and a directory for everything that the test starts by hand, on a disk.
    pub fn on(disk: &SmallDisk) -> Self {
        let mut cluster = Cluster::new(&disk.0, &[]);
        cluster.begin_hub();
        cluster
    }

    fn begin_hub(&mut self) {
        self.spawn("hub", &["hub", "--name", "default"], None);
        until("the hub is there", || self.cluster_dir().join("engine.json").exists().then_some(()));
    }

    /// The log of a process that was started by hand.
    pub fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join("l").join(name)
    }

    /// Starts one more engine.
    pub fn add(&mut self, name: &str, engine: Engine) {
        let connect = self.cluster_dir().join("engine.json").display().to_string();
        let slots = engine.slots.to_string();
        let mut arguments = vec!["engine", "--connect", &connect, "--slots", &slots, "--name", name];
        arguments.extend(["--memory", engine.memory.unwrap_or("1G")]);
        engine.quota.into_iter().for_each(|quota| arguments.extend(["--quota", quota]));
        let directory = engine.directory.map(|directory| directory.display().to_string());
        directory.iter().for_each(|directory| arguments.extend(["--directory", directory]));
        let own = engine.environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let everybodys = self.environment.len();
        self.environment.extend(own);
        self.spawn(name, &arguments, engine.address_space);
        self.environment.truncate(everybodys);
    }

    pub fn spawn(&mut self, name: &str, arguments: &[&str], address_space: Option<u64>) {
        let log = File::options().create(true).append(true).open(self.log(name)).unwrap();
        let mut command = match address_space {
            None => self.command(arguments),
            Some(bytes) => {
                let mut command = Command::new("sh");
                let script = format!("ulimit -v {}; exec \"$0\" \"$@\"", bytes >> 10);
                command.args(["-c", &script, env!("CARGO_BIN_EXE_tryworks")]).args(arguments);
                self.environ(command)
            }
        };
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        self.children.push((name.into(), child));
    }

    fn environ(&self, mut command: Command) -> Command {
        command.env("TRYWORKS_HOME", self.home()).env_remove("TRYWORKS_CLUSTER").env("RUST_BACKTRACE", "0");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tryworks"));
        command.args(arguments);
        self.environ(command)
    }

    /// Runs a command that has to succeed, and returns its output.
    pub fn good(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(done.status.success(), "{arguments:?}: {}{}", text(&done.stdout), text(&done.stderr));
        text(&done.stdout)
    }

    pub fn home(&self) -> PathBuf {
        self.directory.path().join("h")
    }

    fn cluster_dir(&self) -> PathBuf {
        self.home().join("default")
    }

    /// The output of `tryworks cluster status`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.good(&["cluster", "status", "--name", "default", "-o", "json"])).unwrap()
    }

    /// The names and processes of the engines.
    pub fn engines(&self) -> Vec<(String, u32)> {
        let status = self.status();
        let engines = status["engines"].as_array().unwrap().iter();
        engines
            .map(|engine| (engine["name"].as_str().unwrap().into(), engine["host"]["pid"].as_u64().unwrap() as u32))
            .collect()
    }

    pub fn wait_for_engines(&self, count: usize) {
        until("all engines are there", || (self.engines().len() == count).then_some(()));
    }

    /// Waits until a process of this cluster is gone.
    pub fn wait_for_end(&self, pid: u32) {
        until("the process is gone", || (!self.processes().contains(&pid)).then_some(()));
    }

    /// The process of an engine.
    pub fn engine(&self, name: &str) -> u32 {
        let engines = self.engines();
        engines.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name} in {engines:?}")).1
    }

    /// Waits until no engine has a block on the disk, sealed or not.
    #[track_caller]
    pub fn is_clean(&self) {
        until("no block is left", || self.block_files().is_empty().then_some(()));
    }

    /// The block files of all engines.
    pub fn block_files(&self) -> Vec<PathBuf> {
        block_files(&self.home())
    }

    /// Starts the program of a test.
    pub fn begin(&self, test: &str, environment: &[(&str, &str)]) -> Driver {
        self.begin_as(&std::env::current_exe().unwrap(), test, environment)
    }

    /// The same, with another executable.
    pub fn begin_as(&self, program: &Path, test: &str, environment: &[(&str, &str)]) -> Driver {
        let one = ["--exact", test, "--nocapture", "--test-threads=1"];
        let environment = [&self.pairs()[..], environment].concat();
        Driver::begin(program, &one, &self.home(), &self.shared.0, &environment).heard()
    }

    /// The same, without reading its output until it is [heard](Driver::heard).
    pub fn begin_unheard(&self, test: &str) -> Driver {
        let program = std::env::current_exe().unwrap();
        let one = ["--exact", test, "--nocapture", "--test-threads=1"];
        Driver::begin(&program, &one, &self.home(), &self.shared.0, &self.pairs())
    }

    /// Starts the harness of this executable, with arguments of the test's own.
    pub fn begin_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Driver {
        let program = std::env::current_exe().unwrap();
        let environment = [&self.pairs()[..], environment].concat();
        Driver::begin(&program, arguments, &self.home(), &self.shared.0, &environment).heard()
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// Runs the program of a test to its end, which has to be successful.
    pub fn drive(&self, test: &str) -> Done {
        self.begin(test, &[]).ends_well()
    }

    /// The processes that belong to this cluster, or to a program that was run on it.
    pub fn processes(&self) -> Vec<u32> {
        let home = format!("TRYWORKS_HOME={}", self.home().display());
        let pids =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |pid: &u32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == home.as_bytes())
        };
        pids.filter(ours).collect()
    }

    /// The processes that a process has started.
    pub fn children(&self, parent: u32) -> Vec<u32> {
        let is_child = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after = stat.rsplit_once(')').map(|(_, rest)| rest.to_string()).unwrap_or_default();
            after.split_whitespace().nth(1) == Some(&parent.to_string())
        };
        self.processes().into_iter().filter(is_child).collect()
    }

    /// Whether the blocks that engines have on the disk are those that they count. When no job or driver needs anything
    /// any more, both are none. Without a hub there is no answer.
    fn is_accounted(&self) -> Result<(), String> {
        let ask = |arguments: &[&str]| -> Option<Value> {
            let done = self.command(arguments).output().unwrap();
            done.status.success().then(|| serde_json::from_slice(&done.stdout).unwrap())
        };
        let jobs = ask(&["jobs", "--cluster", "default", "-o", "json"]).unwrap_or_default();
        for job in jobs.as_array().into_iter().flatten().filter(|job| !job["detached"].is_null()) {
            // Results that were not collected are kept on purpose. A job whose results were collected is not known any
            // more.
            let _ = self.command(&["cancel", "--cluster", "default", &job["job"].to_string()]).output();
        }
        let end = Instant::now() + DEADLINE;
        loop {
            let Some(status) = ask(&["cluster", "status", "--name", "default", "-o", "json"]) else { return Ok(()) };
            let left = |engine: &Value| {
                let (bytes, pid) = (engine["blocks"].as_u64().unwrap(), engine["host"]["pid"].as_u64().unwrap());
                let files = owned_blocks(pid);
                (bytes > 0 || !files.is_empty()).then(|| format!("{} accounts for {bytes}: {files:?}", engine["name"]))
            };
            let left: Vec<String> = status["engines"].as_array().unwrap().iter().filter_map(left).collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("blocks are left with engines that are alive: {left:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends everything, and checks that nothing is left.
    fn end(&mut self) -> Result<(), String> {
        if self.children.is_empty() {
            let _ = self.command(&["cluster", "stop", "--name", "default"]).output();
        }
        for (_, child) in self.children.iter_mut().rev() {
            signal(child.id(), Signal::CONT);
            signal(child.id(), Signal::TERM);
        }
        for (_, mut child) in self.children.drain(..).rev() {
            let end = Instant::now() + Duration::from_secs(10);
            while child.try_wait().unwrap().is_none() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let end = Instant::now() + Duration::from_secs(10);
        while !self.processes().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let left: Vec<_> = self.processes().into_iter().map(|pid| (pid, command_line(pid))).collect();
        left.iter().for_each(|(pid, _)| signal(*pid, Signal::KILL));
        if !left.is_empty() {
            return Err(format!("processes were left: {left:?}"));
        }
        let files = self.block_files();
        if files.is_empty() { Ok(()) } else { Err(format!("blocks were left: {files:?}")) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        let accounted = if failed { Ok(()) } else { self.is_accounted() };
        if failed {
            for entry in fs::read_dir(self.directory.path().join("l")).into_iter().flatten().flatten() {
                eprintln!("--- {:?}\n{}", entry.file_name(), fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
        let ended = self.end();
        if !failed {
            accounted.and(ended).unwrap();
        }
    }
}

/// The block files of a process, which has the lock of their directory open.
fn owned_blocks(pid: u64) -> Vec<PathBuf> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut open = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    let lock = open.find(|path| path.ends_with("tryworks-blocks.lock"));
    lock.and_then(|lock| lock.parent().map(block_files)).unwrap_or_default()
}

/// The block files under a directory.
pub fn block_files(under: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![under.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            if path.is_dir() {
                directories.push(path);
            } else if path.components().any(|part| part.as_os_str() == "blocks")
                && name.trim_end_matches(".part").len() == 32
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

/// Sends a signal to a process of the test.
pub fn signal(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}
