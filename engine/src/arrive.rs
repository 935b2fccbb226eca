//! Files that arrive from the hub's data port. A separate thread writes and hashes them: a disk may be slow, and the
//! engine's loop must not wait for it.

use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tryworks_transport::{DataError, DataStream};

/// How many pieces of a file may wait for the disk.
const AHEAD: usize = 4;

/// The file that is to arrive.
pub(super) struct Expected {
    /// Its path until it is whole.
    pub(super) new: PathBuf,
    /// Its path after that.
    pub(super) place: PathBuf,
    /// Its permissions.
    pub(super) mode: u32,
    pub(super) hash: [u8; 32],
    /// The error text if the hash differs.
    pub(super) other: &'static str,
}

/// A file on its way. If it does not arrive whole, nothing of it stays.
pub(super) struct Arrival {
    /// `None` after the last piece.
    to: mpsc::Sender<Option<Bytes>>,
    writing: JoinHandle<io::Result<()>>,
}

impl Arrival {
    /// Takes in a whole stream. The inner error is a failure of this machine.
    pub(super) async fn take(expected: Expected, mut stream: DataStream) -> Result<io::Result<()>, DataError> {
        let arrival = Arrival::begin(expected);
        loop {
            match stream.next_chunk().await {
                Ok(Some(chunk)) => arrival.write(chunk).await,
                Ok(None) => return Ok(arrival.finish().await),
                Err(error) => {
                    arrival.give_up().await;
                    return Err(error);
                }
            }
        }
    }

    fn begin(expected: Expected) -> Self {
        let (to, from) = mpsc::channel(AHEAD);
        let writing = spawn_blocking(move || {
            let Expected { new, place, .. } = &expected;
            let create = || {
                fs::create_dir_all(place.parent().unwrap_or(place))?;
                File::options().write(true).create_new(true).mode(expected.mode).open(new)
            };
            let written = create().and_then(|file| write(file, from, &expected));
            let landed = written.and_then(|()| fs::rename(new, place));
            landed.inspect_err(|_| drop(fs::remove_file(new)))
        });
        Arrival { to, writing }
    }

    /// Takes in the next piece. If the disk refuses, [`finish`](Arrival::finish) returns the error.
    async fn write(&self, piece: Bytes) {
        let _ = self.to.send(Some(piece)).await;
    }

    /// The rest of the file will not come. Removes what was written, so that the file can be fetched again.
    async fn give_up(self) {
        drop(self.to);
        // The thread returns an error, because the file is incomplete.
        let _ = self.writing.await;
    }

    /// The whole file has come.
    async fn finish(self) -> io::Result<()> {
        // If the writer no longer listens, it has failed and returns why.
        let _ = self.to.send(None).await;
        self.writing.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// Writes the pieces until the file is whole.
fn write(mut file: impl Write, mut from: mpsc::Receiver<Option<Bytes>>, expected: &Expected) -> io::Result<()> {
    let mut hasher = blake3::Hasher::new();
    loop {
        match from.blocking_recv() {
            Some(Some(piece)) => {
                hasher.update(&piece);
                file.write_all(&piece)?;
            }
            Some(None) if *hasher.finalize().as_bytes() == expected.hash => return file.flush(),
            Some(None) => return Err(io::Error::new(io::ErrorKind::InvalidData, expected.other)),
            None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it did not arrive whole")),
        }
    }
}

/// The path for a file that is not whole yet.
pub(super) fn unfinished(place: &Path) -> PathBuf {
    place.with_extension("new")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::Duration;

    fn expected(directory: &Path, bytes: &[u8]) -> Expected {
        let place = directory.join("a").join("file");
        Expected {
            new: unfinished(&place),
            place,
            mode: 0o600,
            hash: *blake3::hash(bytes).as_bytes(),
            other: "its hash is another one",
        }
    }

    #[tokio::test]
    async fn only_complete_files_with_the_right_hash_arrive() {
        let directory = tempfile::tempdir().unwrap();
        let files = || fs::read_dir(directory.path().join("a")).map_or(0, Iterator::count);
        for (sent, whole, word) in
            [("call me", true, ""), ("call you", true, "hash"), ("call", false, "not arrive whole")]
        {
            let arrival = Arrival::begin(expected(directory.path(), b"call me"));
            let place = directory.path().join("a/file");
            for piece in sent.as_bytes().chunks(3) {
                arrival.write(Bytes::copy_from_slice(piece)).await;
            }
            let ended = match whole {
                true => arrival.finish().await,
                false => {
                    arrival.give_up().await;
                    Err(io::Error::other("it did not arrive whole"))
                }
            };
            match ended {
                Ok(()) => assert_eq!(fs::read(&place).unwrap(), b"call me"),
                Err(error) => assert!(!word.is_empty() && error.to_string().contains(word), "{error}"),
            }
            assert_eq!(files(), usize::from(word.is_empty()));
            let _ = fs::remove_file(place);
        }
    }

    /// The disk is a pipe that nobody reads. The loop has one thread, and must continue all the same.
    #[tokio::test]
    async fn a_slow_disk_does_not_hold_up_the_loop() {
        let directory = tempfile::tempdir().unwrap();
        let (mut disk, file) = std::io::pipe().unwrap();
        let bytes = vec![7; 8 << 20];
        let expected = expected(directory.path(), &bytes);
        let (to, from) = mpsc::channel(AHEAD);
        let arrival = Arrival { to, writing: spawn_blocking(move || write(file, from, &expected)) };
        let pieces = bytes.clone();
        let sending = tokio::spawn(async move {
            for piece in pieces.chunks(1 << 20) {
                arrival.write(Bytes::copy_from_slice(piece)).await;
            }
            arrival.finish().await
        });
        // More pieces are sent than the pipe and the channel can hold, and the loop continues.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!sending.is_finished());
        let read = spawn_blocking(move || {
            let mut all = Vec::new();
            disk.read_to_end(&mut all).map(|_| all)
        });
        sending.await.unwrap().unwrap();
        assert_eq!(read.await.unwrap().unwrap(), bytes);
    }
}
