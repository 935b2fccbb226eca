//! Hosts: a process that holds a network, mount, host name and process namespace, in which other processes are started.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tryworks_testing::{DEADLINE, until};

/// How many seconds a process in a host may run, so that a test which waits for it ends, too.
const LONGEST: &str = "180";

/// Hosts joined by a bridge. Each one has the address 10.77.0.N there and, if the kernel has IPv6, fd77::N.
pub struct Network {
    bridge: Holder,
    pub hosts: Vec<Host>,
}

/// A host.
pub struct Host {
    holder: Holder,
    pub name: String,
    pub address: String,
    /// A directory that only this host has, at the same path on each host.
    pub directory: PathBuf,
    _mounted_on: tempfile::TempDir,
}

/// Keeps namespaces alive: when this process ends, everything in them ends.
struct Holder {
    unshare: Child,
    /// The first process in them.
    first: u32,
}

impl Network {
    /// Hosts with these names; `None`, with a printed reason, if this process may not create any.
    pub fn of(names: &[&str]) -> Option<Self> {
        let bridge = match Holder::new()
            .and_then(|holder| holder.shell("ip link add bridge type bridge && ip link set bridge up").map(|_| holder))
        {
            Ok(bridge) => bridge,
            Err(why) => {
                eprintln!("skipped: this takes the privilege to make network namespaces, and `ip`: {why}");
                return None;
            }
        };
        // They have the same path on each host, as on machines that are set up alike.
        let scratch = tempfile::Builder::new().prefix("tw").tempdir().unwrap();
        let directory = scratch.path().to_path_buf();
        let mut scratch = Some(scratch);
        let host = |(name, number): (&&str, u32)| {
            let holder = Holder::new().unwrap();
            let own = directory.display();
            let plug = format!(
                "ip link add {name} type veth peer name eth0 netns {} && ip link set {name} master bridge up",
                holder.first
            );
            bridge.shell(&plug).unwrap();
            let set_up = format!(
                "mount -t tmpfs -o mode=700 tmpfs {own} && hostname {name} && ip link set lo up && \
                 ip addr add 10.77.0.{number}/24 dev eth0 && ip link set eth0 up{}",
                if ipv6() { format!(" && ip addr add fd77::{number}/64 dev eth0 nodad") } else { String::new() }
            );
            holder.shell(&set_up).unwrap();
            Host {
                holder,
                name: name.to_string(),
                address: format!("10.77.0.{number}"),
                directory: directory.clone(),
                _mounted_on: scratch.take().unwrap_or_else(|| tempfile::tempdir().unwrap()),
            }
        };
        let hosts = names.iter().zip(1..).map(host).collect();
        Some(Network { bridge, hosts })
    }

    /// Pulls the cable of a host out, or plugs it in again.
    pub fn plug(&self, host: usize, up: bool) {
        let state = if up { "up" } else { "down" };
        self.bridge.shell(&format!("ip link set {} {state}", self.hosts[host].name)).unwrap();
    }
}

impl Host {
    /// A command in this host, with a home for clusters of its own.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.holder.enter();
        command
            .arg("env")
            .arg("-u")
            .arg("TRYWORKS_CLUSTER")
            .arg(format!("TRYWORKS_HOME={}", self.path("home").display()));
        command.args(["RUST_BACKTRACE=0", "TRYWORKS_ENGINE_SILENCE=3s"]).arg(program).current_dir("/");
        command
    }

    /// The `tryworks` executable.
    pub fn tryworks(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_tryworks"));
        command.args(arguments);
        command
    }

    /// A path of this host, as its processes see it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The same path, as the test sees it.
    pub fn seen(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.first, self.path(name).display()))
    }

    /// Copies a file of another host to the same path here, as a user would with a connection file.
    pub fn copy(&self, from: &Host, name: &str) {
        let bytes = fs::read(from.seen(name)).unwrap();
        let place = self.seen(name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(place).unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
    }

    /// How many bytes this host has received by its cable.
    pub fn received(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/net/dev", self.holder.first)).unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Starts a hub that other hosts reach, and waits until its connection files exist.
    pub fn hub(&self) -> Running {
        self.hub_at(&self.address)
    }

    /// The same, listening at one of the host's addresses.
    pub fn hub_at(&self, address: &str) -> Running {
        fs::create_dir_all(self.seen("home")).unwrap();
        let directory = self.path("hub");
        let command = &["hub", "--name", "net", "--directory", directory.to_str().unwrap(), "--listen", address];
        let hub = Running::start(self.tryworks(command));
        until("the hub is there", || self.seen("hub/engine.json").exists().then_some(()));
        hub
    }

    /// Starts an engine that has only the connection file.
    pub fn engine(&self, hub: &Host, more: &[&str]) -> Running {
        self.copy(hub, "hub/engine.json");
        let file = self.path("hub/engine.json");
        let directory = self.path("engine");
        let own = ["engine", "--connect", file.to_str().unwrap(), "--name", &self.name, "--memory", "256M"];
        let slots = if more.contains(&"--slots") { &[][..] } else { &["--slots", "2"] };
        let rest = ["--directory", directory.to_str().unwrap()];
        Running::start(self.tryworks(&[&own[..], slots, &rest, more].concat()))
    }

    fn status(&self) -> serde_json::Value {
        let hub = self.path("hub");
        let mut status = self.tryworks(&["cluster", "status", "-o", "json", "--name", hub.to_str().unwrap()]);
        serde_json::from_slice(&status.output().unwrap().stdout).unwrap_or_default()
    }

    /// How many drivers are connected to this host's hub.
    pub fn drivers(&self) -> u64 {
        self.status()["drivers"].as_u64().unwrap()
    }

    /// The engines that this host's hub knows, and their sessions.
    pub fn sessions(&self) -> BTreeMap<String, u64> {
        let status = self.status();
        let engines = status["engines"].as_array().cloned().unwrap_or_default();
        let row = |engine: &serde_json::Value| Some((engine["name"].as_str()?.into(), engine["engine"].as_u64()?));
        engines.iter().map(|engine| row(engine).unwrap()).collect()
    }

    /// Waits until this host's hub knows exactly these engines.
    pub fn wait_for(&self, engines: &[&str]) {
        until(&format!("the hub knows {engines:?}"), || {
            self.sessions().into_keys().eq(engines.iter().map(|name| name.to_string())).then_some(())
        });
    }
}

impl Holder {
    fn new() -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["--propagation", "private", "sh", "-c", "echo here; exec cat"]);
        // The process ends when the other end of its input is closed: also if this test is killed.
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut unshare = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut said = String::new();
        let _ = BufReader::new(unshare.stdout.take().unwrap()).read_line(&mut said);
        if said != "here\n" {
            let _ = unshare.stderr.take().unwrap().read_to_string(&mut said);
            let _ = unshare.wait();
            return Err(said.trim().to_string());
        }
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", unshare.id())).unwrap();
        let first = children.split_whitespace().next().unwrap().parse().unwrap();
        Ok(Holder { unshare, first })
    }

    /// A command in the namespaces, whose program is still to be added.
    fn enter(&self) -> Command {
        self.enter_some(&["--net", "--mount", "--uts", "--pid"])
    }

    fn enter_some(&self, namespaces: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", LONGEST, "nsenter", "-t", &self.first.to_string()]).args(namespaces).arg("--");
        command
    }

    /// Runs a script in all namespaces except that of processes, so that it can name processes of others.
    fn shell(&self, script: &str) -> Result<(), String> {
        let mut command = self.enter_some(&["--net", "--mount", "--uts"]);
        let done = command.args(["sh", "-c", script]).output().map_err(|error| format!("nsenter: {error}"))?;
        let said = String::from_utf8_lossy(&done.stderr).trim().to_string();
        if done.status.success() { Ok(()) } else { Err(said) }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let first = PathBuf::from(format!("/proc/{}/exe", self.first));
        let end = Instant::now() + DEADLINE;
        while fs::read_link(&first).is_ok() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A process in a host. It ends with the host at the latest.
pub struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// What it writes to its error output.
    errors: File,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let errors = tempfile::tempfile().unwrap();
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines, errors }
    }

    /// Waits for a line that contains `word`, and returns what follows.
    #[track_caller]
    pub fn line(&mut self, word: &str) -> String {
        let lines = (&mut self.lines).lines().map(|line| line.unwrap());
        let mut found = lines.filter_map(|line| line.split_once(word).map(|(_, rest)| rest.trim().to_string()));
        found.next().unwrap_or_else(|| panic!("the process ended before it said `{word}`"))
    }

    /// Waits for the end: returns the exit code, and the rest of the output.
    pub fn end(&mut self) -> (i32, String) {
        let mut said = String::new();
        self.lines.read_to_string(&mut said).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, said + &self.errors())
    }

    /// Waits for a successful end, and returns the error output.
    #[track_caller]
    pub fn ends_well(&mut self) -> String {
        let (code, said) = self.end();
        assert_eq!(code, 0, "{said}");
        self.errors()
    }

    fn errors(&self) -> String {
        let mut bytes = vec![0; self.errors.metadata().unwrap().len() as usize];
        self.errors.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what a process said\n{}", self.errors());
        }
    }
}

/// Whether this kernel supports IPv6.
pub fn ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// Whether a path is a directory that is not empty.
pub fn is_filled(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
}

/// The name of the host of this process: process numbers are not unique among hosts.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
