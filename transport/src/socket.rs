//! Unix sockets that ZeroMQ may use: their paths fit, and nobody else can enter their directory.

use crate::error::LinkError;
use crate::home::check_private;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};
use zeromq::{SocketOptions, ZmqError};

/// The longest path of a unix socket: the system has 108 bytes for it, one of which ends it.
const MAX_PATH: usize = 107;

/// How long a peer may take to answer ZeroMQ's greeting. The kernel connects to a stopped process, too.
const GREETING_TIME: Duration = Duration::from_secs(10);

/// How often it is tried again to dial a socket at which too many wait already.
const QUEUE_FULL: Duration = Duration::from_millis(5);

/// ZeroMQ reads this much at first, and twice as much again while it comes in faster.
const READ_AT_FIRST: usize = 4 << 10;
const READ_AT_MOST: usize = 256 << 10;

/// How many sockets this process was bound to.
static BOUND: AtomicUsize = AtomicUsize::new(0);

/// The options of our sockets.
pub(crate) fn options() -> SocketOptions {
    let mut options = SocketOptions::default();
    options.connect_timeout(GREETING_TIME).read_buffer(READ_AT_FIRST, READ_AT_MOST, 2);
    options
}

/// Dials with a ZeroMQ socket, if somebody listens at the path. The thread is never held up: it may be the very one that
/// has to let others in there, before there is room for one more.
pub(crate) async fn dial(socket: &mut impl zeromq::Socket, path: &Path) -> Result<(), LinkError> {
    let endpoint = endpoint(path)?;
    let end = Instant::now() + GREETING_TIME;
    loop {
        // ZeroMQ itself would go on trying when nobody is there. Who listens sees this one close before its greeting.
        let dialled = match UnixStream::connect(path).await {
            Ok(_) => socket.connect(&endpoint).await,
            Err(error) => Err(error.into()),
        };
        match dialled {
            Ok(()) => return Ok(()),
            Err(ZmqError::Network(error)) => match error.kind() {
                // The queue of those who wait to be let in is full.
                ErrorKind::WouldBlock if Instant::now() < end => sleep(QUEUE_FULL).await,
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    let message = "nobody listens there: is the process that made it still running?";
                    return Err(LinkError::socket(path, message));
                }
                _ => return Err(LinkError::socket(path, error)),
            },
            Err(error) => return Err(LinkError::socket(path, error)),
        }
    }
}

/// Whether a process listens at the path, be it one that lets nobody in any more.
async fn is_taken(path: &Path) -> bool {
    match UnixStream::connect(path).await {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// Listens at the path, in the place of a socket that a dead process left.
pub(crate) async fn listen(path: &Path) -> Result<(UnixListener, Bound), LinkError> {
    endpoint(path)?;
    private_directory(path)?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(LinkError::socket(path, error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(LinkError::socket(path, "there is a file of that name that is not a socket; remove it"));
        }
        Ok(_) if is_taken(path).await => {
            return Err(LinkError::socket(path, "another process listens there; stop it first, or use another name"));
        }
        Ok(_) => {}
    }
    // ZeroMQ removes what it was bound to some time after its end, when another may be bound there. So it is bound to
    // another name, of the same length, which is gone long before. The one that it removes is not the next one's either.
    let mut name = path.as_os_str().to_owned().into_vec();
    if let Some(last) = name.last_mut() {
        let mut others = b"~0123456789".iter().filter(|other| *other != last);
        *last = others.nth(BOUND.fetch_add(1, Relaxed) % 10).copied().unwrap_or(b'~');
    }
    let new = PathBuf::from(OsString::from_vec(name));
    let bound = || {
        let _ = std::fs::remove_file(&new);
        let listener = UnixListener::bind(&new)?;
        std::fs::rename(&new, path)?;
        let inode = std::fs::symlink_metadata(path)?.ino();
        Ok::<_, std::io::Error>((listener, Bound { path: path.to_owned(), inode }))
    };
    bound().map_err(|error| LinkError::socket(path, error))
}

/// The name of a socket, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Bound {
    path: PathBuf,
    inode: u64,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn endpoint(path: &Path) -> Result<String, LinkError> {
    let Some(text) = path.to_str().filter(|text| !text.contains('\n')) else {
        return Err(LinkError::socket(path, "the path must be UTF-8 in one line"));
    };
    if text.len() > MAX_PATH {
        let message = format!(
            "the path has {} bytes, and that of a socket may have {MAX_PATH}; set TRYWORKS_HOME to a shorter directory",
            text.len()
        );
        return Err(LinkError::socket(path, message));
    }
    Ok(format!("ipc://{text}"))
}

/// ZeroMQ asks nobody who they are, so the directory has to.
fn private_directory(path: &Path) -> Result<(), LinkError> {
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => return Err(LinkError::socket(path, "the path must name its directory")),
    };
    check_private(directory).map_err(|why| LinkError::socket(path, format!("its directory is not safe: {why}")))
}
