//! Unix sockets between processes of one user. ZeroMQ does not authenticate processes and cannot say which process it
//! talks to. So both ends ask the system before ZeroMQ gets the connection.
//!
//! ```text
//! who listens    binds ZeroMQ to a name that it removes at once: only who is handed the socket itself can reach it
//!                binds the gate to the name that others know, in a private directory
//! who dials      opens the private directory, dials the gate, asks the system whose it is
//! the gate       asks the system whose the connection is, and hands the socket over (SCM_RIGHTS)
//! who dials      lets ZeroMQ dial that socket
//! ```

use crate::error::LinkError;
use rustix::fs::FileType;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::geteuid;
use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tryworks_base::private::{PrivateDir, through};
use zeromq::{SocketOptions, ZmqError};

/// How long a peer may take to answer. The kernel connects to a stopped process, too.
const ANSWER: Duration = Duration::from_secs(10);

/// The pause between two tries to dial a socket at which too many connections wait already.
const QUEUE_FULL: Duration = Duration::from_millis(5);

/// How often the dialling end checks that a process still listens at the socket.
const STILL_THERE: Duration = Duration::from_millis(50);

/// The pause between two tries to accept a connection when there are too many open files.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// How many connections may wait to be accepted, if the system allows it.
const BACKLOG: i32 = 4096;

/// ZeroMQ reads this much at first, and doubles it while bytes arrive faster.
const READ_AT_FIRST: usize = 4 << 10;
const READ_AT_MOST: usize = 256 << 10;

/// The buffer space for one file in a message.
const ONE_FILE: usize = rustix::cmsg_space!(ScmRights(1));

/// The options of Tryworks's sockets.
pub(crate) fn options() -> SocketOptions {
    let mut options = SocketOptions::default();
    options.connect_timeout(ANSWER).read_buffer(READ_AT_FIRST, READ_AT_MOST, 2);
    options
}

/// Dials with a ZeroMQ socket, if this user listens at the path. This never blocks the thread: it may be the very
/// thread that has to accept other connections before this one can be queued.
pub(crate) async fn dial(zeromq: &mut impl zeromq::Socket, path: &Path) -> Result<(), LinkError> {
    let failed = |error: &dyn std::fmt::Display| LinkError::socket(path, error);
    let no_listener = || failed(&"no process listens there: is the process that made it still running?");
    let (directory, name) = split(path)?;
    let dialling = async {
        let mut gate = UnixStream::connect(directory.through(name)).await;
        while gate.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            sleep(QUEUE_FULL).await;
            gate = UnixStream::connect(directory.through(name)).await;
        }
        let gate = gate.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => no_listener(),
            _ => failed(&error),
        })?;
        if !is_ours(&gate) {
            return Err(failed(&"another user listens there"));
        }
        let taken = take(&gate).await.map_err(|error| failed(&error))?;
        let socket = taken.ok_or_else(|| {
            failed(&"the process that listens there accepts no connection: is it of the same version?")
        })?;
        let place = through(&socket);
        let endpoint = format!("ipc://{}", place.display());
        let connecting = async {
            let mut dialled = zeromq.connect(&endpoint).await;
            while let Err(ZmqError::Network(error)) = &dialled
                && error.kind() == ErrorKind::WouldBlock
            {
                sleep(QUEUE_FULL).await;
                dialled = zeromq.connect(&endpoint).await;
            }
            dialled.map_err(|error| failed(&error))
        };
        tokio::select! {
            biased;
            dialled = connecting => dialled,
            // ZeroMQ takes a refusal for a process that will listen later, and would retry until its time is up. No
            // other process ever listens at this socket: its process has ended since the gate handed it out.
            () = gone(&place) => Err(no_listener()),
        }
    };
    let dialled = timeout(ANSWER, dialling).await;
    dialled.unwrap_or_else(|_| Err(failed(&format!("who listens there does not answer within {ANSWER:?}"))))
}

/// Returns once no process listens at a socket any more. It asks for another kind of connection than the listener
/// accepts. So the system answers, and the listener does not notice.
async fn gone(place: &Path) {
    let is_gone = || {
        let asked = UnixDatagram::unbound().and_then(|asking| asking.connect(place));
        asked.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    while !is_gone() {
        sleep(STILL_THERE).await;
    }
}

/// Whether the process at the other end belongs to this user, according to the system.
fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == geteuid().as_raw())
}

/// Receives the socket that the gate hands out, if it does.
async fn take(gate: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let receive = || {
        let mut space = [MaybeUninit::uninit(); ONE_FILE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(gate, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut files = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        Ok(files.next().and_then(|mut files| files.next()))
    };
    gate.async_io(Interest::READABLE, receive).await
}

/// Listens at the path, and replaces a socket that a dead process left. The returned listener is for ZeroMQ.
pub(crate) async fn listen(path: &Path) -> Result<(UnixListener, Bound), LinkError> {
    let (directory, name) = split(path)?;
    match directory.stat(name).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        None => {}
        Some(FileType::Socket) if is_taken(&directory, name).await => {
            return Err(LinkError::socket(path, "another process listens there; stop it first, or use another name"));
        }
        Some(FileType::Socket) => {}
        Some(_) => {
            return Err(LinkError::socket(path, "there is a file of that name that is not a socket; remove it"));
        }
    }
    begin(directory, name).map_err(|error| LinkError::socket(path, error))
}

fn begin(directory: PrivateDir, name: &OsStr) -> io::Result<(UnixListener, Bound)> {
    // ZeroMQ removes the path that it was bound to some time after its end: nothing may have that name then.
    let inner = unused()?;
    let zeromq = bind(&directory, &inner)?;
    let socket = directory.hold(&inner)?;
    directory.remove(&inner)?;
    // The socket gets its name when it listens: a process that finds it is accepted.
    let new = unused()?;
    let gate = bind(&directory, &new)?;
    gate.set_nonblocking(true)?;
    let gate = tokio::net::UnixListener::from_std(gate)?;
    std::fs::rename(directory.through(&new), directory.through(name))?;
    let inode = directory.stat(name).map(|stat| stat.st_ino);
    let gate = tokio::spawn(let_in(gate, socket)).abort_handle();
    Ok((zeromq, Bound { directory, name: name.to_owned(), inode, gate }))
}

/// A name that no file has.
fn unused() -> io::Result<OsString> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(".{:016x}", u64::from_le_bytes(random)).into())
}

fn bind(directory: &PrivateDir, name: &OsStr) -> io::Result<UnixListener> {
    let place = directory.through(name);
    let listener = UnixListener::bind(&place)?;
    // The umask may have taken rights from the owner.
    std::fs::set_permissions(&place, Permissions::from_mode(0o600))?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Hands the socket to processes of this user, for as long as this process listens.
async fn let_in(gate: tokio::net::UnixListener, socket: OwnedFd) {
    loop {
        match gate.accept().await {
            // A process that does not get it sees the connection end, and reports that.
            Ok((guest, _)) if is_ours(&guest) => drop(give(&guest, &socket)),
            Ok(_) => {}
            // Nearly always, too many files are open.
            Err(_) => sleep(FULL_PAUSE).await,
        }
    }
}

/// This never waits: a new connection can take a byte.
fn give(guest: &UnixStream, socket: &OwnedFd) -> io::Result<usize> {
    let files = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); ONE_FILE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    Ok(sendmsg(guest, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?)
}

/// Whether a process listens at an existing socket, even if it accepts no connections any more.
async fn is_taken(directory: &PrivateDir, name: &OsStr) -> bool {
    match UnixStream::connect(directory.through(name)).await {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// The name of a socket. Dropping this removes it, and no process is accepted any more.
#[derive(Debug)]
pub(crate) struct Bound {
    directory: PrivateDir,
    name: OsString,
    inode: Option<u64>,
    gate: AbortHandle,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.gate.abort();
        if self.inode.is_some() && self.directory.stat(&self.name).map(|stat| stat.st_ino) == self.inode {
            // If the file stays, the next process finds that none listens there, and replaces it.
            let _ = self.directory.remove(&self.name);
        }
    }
}

/// The directory of a socket, which no other user may enter, and its name there.
fn split(path: &Path) -> Result<(PrivateDir, &OsStr), LinkError> {
    let whole = path.parent().filter(|directory| !directory.as_os_str().is_empty()).zip(path.file_name());
    let (directory, name) = whole.ok_or_else(|| LinkError::socket(path, "the path must name its directory"))?;
    match PrivateDir::open(directory) {
        Ok(directory) => Ok((directory, name)),
        Err(_) if !directory.exists() => {
            Err(LinkError::socket(path, "no process listens there: its directory is gone"))
        }
        Err(error) => Err(LinkError::socket(path, format!("its directory is not safe: {}", error.why()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tryworks_base::private::private_dir;
    use zeromq::{DealerSocket, Socket};

    async fn dial_at(path: &Path) -> Result<(), LinkError> {
        dial(&mut DealerSocket::with_options(options()), path).await
    }

    /// Regression: a hub was killed between the two steps of a dial. The engine kept waiting for ten seconds, while the
    /// next hub gave it up and had its finished work done again.
    #[tokio::test]
    async fn dialing_a_process_that_has_ended_is_an_error() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("private/gate");
        private_dir(path.parent().unwrap()).unwrap();
        let (directory, name) = split(&path).unwrap();
        let inner = unused().unwrap();
        let listener = bind(&directory, &inner).unwrap();
        let socket = directory.hold(&inner).unwrap();
        let gate = bind(&directory, name).unwrap();
        gate.set_nonblocking(true).unwrap();
        let gate = tokio::spawn(let_in(tokio::net::UnixListener::from_std(gate).unwrap(), socket));
        drop(listener);
        let error = dial_at(&path).await.unwrap_err().to_string();
        assert!(error.contains("no process listens there"), "{error}");
        gate.abort();
    }

    #[tokio::test]
    async fn a_socket_is_not_gone_while_a_process_listens() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("socket");
        let listener = UnixListener::bind(&place).unwrap();
        assert!(gone(&place).now_or_never().is_none());
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "the listener heard nothing");
        drop(listener);
        gone(&place).await;
    }
}
