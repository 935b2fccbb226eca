//! The outputs of this process, for Tryworks's own lines. A line that cannot be written is counted, and ends nothing.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

/// How many bytes are written at once: the system takes this many without blocking when `poll` said that it can take
/// any.
const AT_ONCE: usize = 4096;

/// How long a line that must not wait is kept for a reader that is only slow.
const SLOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The standard output.
pub static OUT: Outlet = Outlet::new(false);
/// The standard error output.
pub static ERR: Outlet = Outlet::new(true);

/// An output of this process. A full disk, a terminal that is gone and a reader that has closed its pipe are no errors
/// for the caller. Lost lines are counted, and the count is reported as soon as something can be written again.
///
/// ```
/// use tryworks_base::outlet;
/// outlet::ERR.write(b"two lines\nat once\n");
/// assert_eq!(outlet::ERR.lost(), 0);
/// ```
pub struct Outlet {
    stderr: bool,
    state: Mutex<State>,
}

struct State {
    lost: u64,
    why: Errno,
    /// The last line was written without its end.
    torn: bool,
}

impl Outlet {
    const fn new(stderr: bool) -> Self {
        Outlet { stderr, state: Mutex::new(State { lost: 0, why: Errno::IO, torn: false }) }
    }

    /// Writes lines, and waits for a reader that is slow.
    pub fn write(&self, lines: &[u8]) {
        self.put(lines, None);
    }

    /// Writes lines of a log. They are lost if no reader takes them: a stopped terminal must not stop a cluster.
    pub fn log(&self, lines: &[u8]) {
        self.put(lines, Some(SLOW));
    }

    /// How many lines were lost and not yet reported.
    pub fn lost(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lost
    }

    fn put(&self, lines: &[u8], patience: Option<Timespec>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let to = if self.stderr {
            stderr.as_fd()
        } else {
            // What the program itself has printed comes first. If that cannot be written, the program has to deal with
            // it.
            let _ = stdout.lock().flush();
            stdout.as_fd()
        };
        state.put(to, lines, patience);
    }
}

impl State {
    fn put(&mut self, to: BorrowedFd<'_>, lines: &[u8], patience: Option<Timespec>) {
        // After a line was lost this does not wait again for every line.
        let patience = patience.map(|time| if self.lost > 0 { Timespec { tv_sec: 0, tv_nsec: 0 } } else { time });
        let mut done = Ok(());
        if self.lost > 0 {
            let begin = if self.torn { "\n" } else { "" };
            let (lost, why) = (self.lost, self.why);
            let told = format!("{begin}tryworks: {lost} lines are missing here, which could not be written: {why}\n");
            done = self.all(to, told.as_bytes(), patience);
            if done.is_ok() {
                self.lost = 0;
            }
        }
        if let Err(why) = done.and_then(|()| self.all(to, lines, patience)) {
            let ends = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.lost = self.lost.saturating_add(ends.max(1));
            self.why = why;
        }
    }

    fn all(&mut self, to: BorrowedFd<'_>, mut bytes: &[u8], patience: Option<Timespec>) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let chunk = match patience {
                None => bytes,
                Some(patience) => {
                    match poll(&mut [PollFd::new(&to, PollFlags::OUT)], Some(&patience)) {
                        Ok(0) => return Err(Errno::AGAIN),
                        Ok(_) => {}
                        Err(Errno::INTR) => continue,
                        Err(error) => return Err(error),
                    }
                    &bytes[..bytes.len().min(AT_ONCE)]
                }
            };
            match rustix::io::write(to, chunk) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => {
                    self.torn = bytes[written - 1] != b'\n';
                    bytes = &bytes[written..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, pipe};

    fn state() -> State {
        State { lost: 0, why: Errno::IO, torn: false }
    }

    #[test]
    fn lines_lost_to_a_full_disk_are_counted_and_reported_when_there_is_space() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut state = state();
        for _ in 0..3 {
            state.put(full.as_fd(), b"one\ntwo\n", None);
        }
        assert_eq!((state.lost, state.why), (6, Errno::NOSPC));
        let mut disk = tempfile::tempfile().unwrap();
        state.put(disk.as_fd(), b"three\n", None);
        assert_eq!(state.lost, 0);
        io::Seek::rewind(&mut disk).unwrap();
        let mut text = String::new();
        disk.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("tryworks: 6 lines are missing here, which could not be written: No space"), "{text}");
        assert!(text.ends_with("\nthree\n"), "{text}");
    }

    #[test]
    fn a_pipe_without_a_reader_ends_no_process() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut state = state();
        state.put(writer.as_fd(), b"nobody\n", Some(SLOW));
        assert_eq!((state.lost, state.why), (1, Errno::PIPE));
    }

    #[test]
    fn a_reader_that_does_not_read_holds_no_log_up() {
        let (mut reader, writer) = pipe().unwrap();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let mut state = state();
        for _ in 0..1_000 {
            state.put(writer.as_fd(), &line, Some(SLOW));
        }
        assert!(state.lost > 0 && state.why == Errno::AGAIN, "{} lost", state.lost);
        let lost = state.lost;
        let mut text = vec![0; 1 << 20];
        let read = reader.read(&mut text).unwrap();
        state.put(writer.as_fd(), b"again\n", Some(SLOW));
        drop(writer);
        text.truncate(read);
        reader.read_to_end(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(&format!("\ntryworks: {lost} lines are missing here")), "{text}");
        assert!(text.ends_with("\nagain\n"), "{text}");
    }
}
