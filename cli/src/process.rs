//! Processes that are known by number and start time, so that nobody else is taken for them or signalled.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A process for ever: numbers are given out again, a number with a start time is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The number of the process.
    pub pid: i32,
    /// When it began, in the system's ticks since it booted: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

impl Identity {
    /// This process.
    pub fn own() -> anyhow::Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Identity::of(pid).ok_or_else(|| anyhow::anyhow!("/proc/{pid}/stat cannot be read: is /proc mounted?"))
    }

    /// The process that has this number now. One that is dead and only waits for its parent does not count.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Identity { pid, start_time: start_time(&stat)? })
    }

    /// A hold on the process, if it is still there.
    pub fn find(self) -> Option<Process> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // What was opened stays the same process from here on: now it is told whether it is the right one.
        (Identity::of(self.pid) == Some(self)).then_some(Process { fd })
    }
}

/// A hold on a process, which never comes to mean another one.
pub struct Process {
    fd: OwnedFd,
}

impl Process {
    /// Sends a signal. That it is gone already is no error.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it has ended, at most so long. False if it is still there.
    pub fn wait(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).ok();
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], left.as_ref()) {
                Err(Errno::INTR) => continue,
                Ok(ready) => return ready > 0,
                Err(_) => return false,
            }
        }
    }

    /// Asks it to end, and ends it if it does not do so in time.
    pub fn end(&self, grace: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        if !self.wait(grace) {
            self.signal(Signal::KILL)?;
            self.wait(grace);
        }
        Ok(())
    }
}

/// The start time in the text of `/proc/PID/stat`, unless the process is dead.
fn start_time(stat: &str) -> Option<u64> {
    // The name may hold spaces and brackets: the last one closes it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn names_may_look_like_fields() {
        let fields = (4..=21).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(start_time(&format!("7 (a) Z 1) S {fields} 555 23 24")), Some(555));
        assert_eq!(start_time(&format!("7 (a) Z {fields} 555 23")), None);
        assert_eq!(start_time("7 (a"), None);
    }

    #[test]
    fn a_process_is_found_until_it_ends() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let known = Identity::of(child.id() as i32).unwrap();
        assert!(Identity { start_time: known.start_time + 1, ..known }.find().is_none());
        let process = known.find().unwrap();
        assert!(!process.wait(Duration::ZERO));
        process.end(Duration::from_secs(60)).unwrap();
        assert!(known.find().is_none(), "it is dead though nobody has waited for it");
        assert!(!child.wait().unwrap().success());
        process.signal(Signal::TERM).unwrap();
    }
}
