//! Worker processes: started with what the driver was started with, watched, and mourned.

use super::state::Death;
use crate::protocol::driver::Program;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tryworks_core::Error;

/// The variable by which a program knows that it is a worker: its number and the socket of its engine.
pub(crate) const WORKER: &str = "TRYWORKS_WORKER";

/// How long the last output of a dead worker may take: whoever it has started may hold its pipes.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// What happened to a worker.
pub(super) enum Happened {
    /// It runs.
    Started { worker: u64, pid: u32, kill: oneshot::Sender<()> },
    /// It wrote something.
    Wrote { worker: u64, stderr: bool, bytes: Vec<u8> },
    /// It is gone.
    Ended { worker: u64, death: Death },
}

/// Starts a worker and watches it until its end.
pub(super) async fn tend(
    worker: u64,
    path: Result<PathBuf, Error>,
    program: Program,
    socket: PathBuf,
    directory: PathBuf,
    to: mpsc::UnboundedSender<Happened>,
) {
    let path = match path {
        Ok(path) => path,
        Err(error) => return ended(&to, worker, format!("could not be started: {error}"), true),
    };
    let child = start(&path, &program, &format!("{worker}@{}", socket.display()), &directory);
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return ended(&to, worker, format!("could not be started: {error}"), true),
    };
    let (kill, killed) = oneshot::channel();
    let _ = to.send(Happened::Started { worker, pid: child.id().unwrap_or(0), kill });
    let outputs = [child.stdout.take().map(|out| read(out, worker, false, to.clone())).map(tokio::spawn)];
    let errors = child.stderr.take().map(|out| read(out, worker, true, to.clone())).map(tokio::spawn);
    let status = tokio::select! {
        status = child.wait() => status,
        _ = killed => {
            end(&mut child);
            child.wait().await
        }
    };
    for output in outputs.into_iter().flatten().chain(errors) {
        let _ = tokio::time::timeout(LAST_OUTPUT, output).await;
    }
    let how = match status {
        Ok(status) => manner(status),
        Err(error) => format!("is lost: {error}"),
    };
    ended(&to, worker, how, false);
}

fn ended(to: &mpsc::UnboundedSender<Happened>, worker: u64, how: String, hopeless: bool) {
    let _ = to.send(Happened::Ended { worker, death: Death { how, hopeless } });
}

fn start(path: &Path, program: &Program, name: &str, directory: &Path) -> io::Result<Child> {
    let (first, rest) = program.arguments.split_first().map_or(("worker", &[][..]), |(first, rest)| (first, rest));
    // On another machine the driver's directory may not exist.
    let own = Path::new(&program.directory);
    let mut command = Command::new(path);
    command.arg0(first).args(rest).env_clear().env(WORKER, name).current_dir(if own.is_dir() {
        own
    } else {
        directory
    });
    let environment = program.environment.iter().filter(|(name, _)| name != "TRYWORKS_CLUSTER");
    command.envs(environment.map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What is typed at the engine's terminal is not meant for it, and what it starts ends with it.
    command.process_group(0).kill_on_drop(true).spawn()
}

/// Kills a worker with all that it has started.
fn end(child: &mut Child) {
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.start_kill();
}

fn manner(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "was killed by signal 9: by somebody, or by the system for want of memory".into(),
        (Some(6), _) => "aborted (signal 6)".into(),
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (_, Some(0)) => "ended by itself (exit code 0): is `Context::init()` on the first line of `main`?".into(),
        (_, Some(code)) => format!("ended by itself (exit code {code})"),
        _ => "ended".into(),
    }
}

async fn read(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    worker: u64,
    stderr: bool,
    to: mpsc::UnboundedSender<Happened>,
) {
    let mut chunk = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        if to.send(Happened::Wrote { worker, stderr, bytes: chunk[..read].to_vec() }).is_err() {
            return;
        }
    }
}

/// The anonymous memory that a process holds and the most of all memory that it ever held, in bytes.
pub(super) fn memory_of(pid: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
    };
    Some((field("RssAnon:")?, field("VmHWM:")?))
}
