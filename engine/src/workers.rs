//! Worker processes: the engine starts them as the driver was started, watches them, and reports how they end.

use super::flow::Flow;
use super::state::{Death, Piece};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tryworks_base::Error;
use tryworks_protocol::environment;
use tryworks_protocol::program::Program;
use tryworks_protocol::worker::VARIABLE;

/// How long the engine waits for the last output of a dead worker: processes that it started may keep its pipes open.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// How long a program may be open for writing before that counts as a failure.
const BUSY: Duration = Duration::from_secs(30);
/// How long to wait between attempts to start such a program.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// What happened to a worker.
pub(super) enum Happened {
    /// Its process runs.
    Started { worker: u64, pid: u32, kill: oneshot::Sender<()>, outputs: Outputs },
    /// It wrote output.
    Wrote { worker: u64, piece: Piece },
    /// Its process has ended.
    Ended { worker: u64, death: Death },
}

/// How much a pipe holds, unless it was enlarged.
const PIPE: usize = 64 << 10;

/// The standard output and the error output of a worker.
#[derive(Clone)]
pub(super) struct Outputs([Output; 2]);

#[derive(Clone)]
struct Output {
    stderr: bool,
    pipe: Option<Arc<pipe::Receiver>>,
    flow: Arc<Flow>,
}

impl Outputs {
    fn of(child: &mut Child, [out, err]: [Arc<Flow>; 2]) -> Self {
        let open = |fd: io::Result<OwnedFd>| fd.and_then(pipe::Receiver::from_owned_fd).ok().map(Arc::new);
        let stdout = child.stdout.take().and_then(|out| open(out.into_owned_fd()));
        let stderr = child.stderr.take().and_then(|err| open(err.into_owned_fd()));
        Outputs([Output { stderr: false, pipe: stdout, flow: out }, Output { stderr: true, pipe: stderr, flow: err }])
    }

    /// The output that can be read now: everything written so far.
    pub(super) fn written(&self) -> Vec<Piece> {
        self.0.iter().flat_map(Output::written).collect()
    }

    /// Pieces that show the driver what was cut and that no later piece shows.
    pub(super) fn rest(&self) -> Vec<Piece> {
        self.0.iter().filter_map(|output| output.flow.rest(output.stderr)).collect()
    }
}

impl Output {
    fn written(&self) -> Vec<Piece> {
        let mut all = Vec::new();
        let Some(pipe) = &self.pipe else { return all };
        let mut chunk = vec![0; PIPE];
        let mut bytes = 0;
        // Without this bound, a worker that writes all the time would keep this loop running.
        while bytes < PIPE
            && let Ok(read @ 1..) = rustix::io::read(pipe, &mut chunk[..])
        {
            bytes += read;
            all.extend(self.flow.took(self.stderr, &chunk[..read]));
        }
        all.extend(self.flow.rest(self.stderr));
        all
    }

    /// Reads the output as fast as the driver acknowledges it.
    async fn read(self, worker: u64, to: mpsc::UnboundedSender<Happened>) {
        let Some(from) = &self.pipe else { return };
        let mut chunk = vec![0; 16 << 10];
        while from.readable().await.is_ok() {
            self.flow.turn().await;
            match from.try_read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => {
                    let piece = self.flow.took(self.stderr, &chunk[..read]);
                    if let Some(piece) = piece
                        && to.send(Happened::Wrote { worker, piece }).is_err()
                    {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// Starts a worker and watches it until its end.
pub(super) async fn tend(
    worker: u64,
    path: Result<PathBuf, Error>,
    program: Program,
    socket: PathBuf,
    directory: PathBuf,
    flows: [Arc<Flow>; 2],
    to: mpsc::UnboundedSender<Happened>,
) {
    let path = match path {
        Ok(path) => path,
        Err(error) => return ended(&to, worker, format!("could not be started: {error}"), true),
    };
    let child = start(&path, &program, &format!("{worker}@{}", socket.display()), &directory).await;
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return ended(&to, worker, format!("could not be started: {error}"), true),
    };
    let (kill, killed) = oneshot::channel();
    let outputs = Outputs::of(&mut child, flows.clone());
    let reading = outputs.0.clone().map(|output| tokio::spawn(output.read(worker, to.clone())));
    let _ = to.send(Happened::Started { worker, pid: child.id().unwrap_or(0), kill, outputs });
    let status = tokio::select! {
        status = child.wait() => status,
        _ = killed => {
            end(&mut child);
            child.wait().await
        }
    };
    // Output that is still in the pipes is sent with the end of the worker.
    for flow in &flows {
        flow.reset();
    }
    let deadline = tokio::time::Instant::now() + LAST_OUTPUT;
    for output in reading {
        let _ = tokio::time::timeout_at(deadline, output).await;
    }
    let how = match status {
        Ok(status) => manner(status),
        Err(error) => format!("is lost: {error}"),
    };
    ended(&to, worker, how, false);
}

fn ended(to: &mpsc::UnboundedSender<Happened>, worker: u64, how: String, hopeless: bool) {
    let _ = to.send(Happened::Ended { worker, death: Death { how, hopeless, ran: Vec::new() } });
}

/// Starts a worker. Another process that is being started holds our files that are open for writing, until it executes
/// its own program. So a copy that we closed long ago may still be "text file busy" for a moment.
async fn start(path: &Path, program: &Program, name: &str, directory: &Path) -> io::Result<Child> {
    let mut command = command(path, program, name, directory);
    let begun = Instant::now();
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && begun.elapsed() < BUSY => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            done => return done,
        }
    }
}

fn command(path: &Path, program: &Program, name: &str, directory: &Path) -> Command {
    let (first, rest) = program.arguments.split_first().map_or(("worker", &[][..]), |(first, rest)| (first, rest));
    // On another machine the driver's directory may not exist.
    let own = Path::new(&program.directory);
    let mut command = Command::new(path);
    command.arg0(first).args(rest).current_dir(if own.is_dir() { own } else { directory });
    // The environment is the engine's, because its paths are of this machine. A few variables are the driver's: if the
    // driver does not set one, the worker does not have it either.
    let ours = std::env::vars_os().map(|(name, _)| name);
    ours.filter(|name| environment::is_the_drivers(name)).for_each(|name| {
        command.env_remove(name);
    });
    let sent = program.environment.iter().filter(|(name, _)| environment::may_be_sent(name));
    command.envs(sent.map(|(name, value)| (name, value)));
    command.env_remove("TRYWORKS_CLUSTER").env(VARIABLE, name);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A signal from the engine's terminal must not reach the worker. Processes that the worker starts are in its group,
    // and end with it.
    command.process_group(0).kill_on_drop(true);
    command
}

/// Kills a worker and all processes that it started.
fn end(child: &mut Child) {
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.start_kill();
}

fn manner(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "was killed by signal 9: by a person, or by the system because memory ran out".into(),
        (Some(6), _) => "aborted (signal 6)".into(),
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (_, Some(code)) => format!("ended by itself (exit code {code})"),
        _ => "ended".into(),
    }
}

/// A number that no other worker of any engine ever has. With it the driver tells the outputs of workers apart.
pub(super) fn own_number() -> u64 {
    let mut random = [0; 8];
    // The system always has some random bytes after it has booted.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    u64::from_le_bytes(random)
}

/// The anonymous memory that a process holds, and the most memory of all kinds that it ever held, in bytes.
pub(super) fn memory_of(pid: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
    };
    Some((field("RssAnon:")?, field("VmHWM:")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    /// A copy of `/bin/true`, and a handle that has it open for writing.
    fn busy(directory: &Path) -> (PathBuf, std::fs::File) {
        let path = directory.join("program");
        std::fs::copy("/bin/true", &path).unwrap();
        let writer = std::fs::File::options().append(true).open(&path).unwrap();
        (path, writer)
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_program_that_is_open_for_writing_is_started_when_it_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, writer) = busy(directory.path());
        run(async {
            let program = Program::default();
            let refused = command(&path, &program, "1@x", directory.path()).spawn().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ExecutableFileBusy);
            let mut start = std::pin::pin!(start(&path, &program, "1@x", directory.path()));
            // This poll returns pending after the first attempt has failed.
            assert!(start.as_mut().now_or_never().is_none());
            drop(writer);
            assert!(start.await.unwrap().wait().await.unwrap().success());
        });
    }

    #[test]
    fn a_missing_program_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let refused = run(start(&path, &Program::default(), "1@x", directory.path())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    }
}
