//! Processes that are identified by number and start time, so that no other process is taken for them or signalled.

use anyhow::anyhow;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tryworks_protocol::host::began;

/// Identifies one process for ever: numbers are reused, but not a number with a start time and a machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The number of the process.
    pub pid: i32,
    /// When it began, in the system's ticks since the boot: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
    /// Where the number is valid.
    pub host: Host,
}

/// What is known about a recorded process.
pub enum Seen {
    /// It runs.
    Alive(Process),
    /// It has ended.
    Gone,
    /// It is, or was, where this process cannot look: on another machine that has the same directory, or in another
    /// container.
    Elsewhere,
}

impl Identity {
    /// This process.
    pub fn own() -> anyhow::Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let start_time =
            began(pid.cast_unsigned()).ok_or_else(|| anyhow!("/proc/{pid}/stat cannot be read: is /proc mounted?"))?;
        Ok(Identity { pid, start_time, host: Host::own() })
    }

    /// Looks whether the process still runs.
    pub fn look(&self) -> Seen {
        match self.host.is_seen_from(&Host::own()) {
            None => Seen::Elsewhere,
            Some(true) => self.find().map_or(Seen::Gone, Seen::Alive),
            Some(false) => Seen::Gone,
        }
    }

    fn find(&self) -> Option<Process> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // An opened process stays the same one, so this check of its start time holds from here on.
        (began(self.pid.cast_unsigned()) == Some(self.start_time)).then_some(Process { fd })
    }
}

/// One boot of a machine, and the namespace that its process numbers belong to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Host {
    /// The name of the machine.
    pub name: String,
    /// Its id since it was installed; empty if there is none.
    pub machine: String,
    /// Its id since it was booted.
    pub boot: String,
    /// The namespace of its processes: each container has its own.
    pub processes: String,
}

impl Host {
    fn own() -> Host {
        let text = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Host {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            machine: text("/etc/machine-id"),
            boot: text("/proc/sys/kernel/random/boot_id"),
            processes: fs::read_link("/proc/self/ns/pid").unwrap_or_default().display().to_string(),
        }
    }

    /// Whether the machine `here` can tell that these processes may still run.
    fn is_seen_from(&self, here: &Host) -> Option<bool> {
        if !here.boot.is_empty() && self.boot == here.boot {
            return (self.processes == here.processes).then_some(true);
        }
        // Machines copied from one image may share the id, but not the name.
        let same = !here.machine.is_empty() && (&self.machine, &self.name) == (&here.machine, &here.name);
        (same && !self.boot.is_empty() && !here.boot.is_empty()).then_some(false)
    }
}

/// An open process: it never becomes another one.
pub struct Process {
    fd: OwnedFd,
}

impl Process {
    /// Sends a signal. If the process is gone already, that is no error.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it has ended, for at most `limit`. Returns false if it still runs.
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

    /// Asks the process to end, and kills it if it does not end in time.
    pub fn end(&self, grace: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        if !self.wait(grace) {
            self.signal(Signal::KILL)?;
            self.wait(grace);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_found_until_it_ends() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id() as i32;
        let known = Identity { pid, start_time: began(child.id()).unwrap(), host: Host::own() };
        let find = |identity: &Identity| match identity.look() {
            Seen::Alive(process) => Some(process),
            Seen::Gone => None,
            Seen::Elsewhere => panic!("it is here"),
        };
        assert!(find(&Identity { start_time: known.start_time + 1, ..known.clone() }).is_none());
        let process = find(&known).unwrap();
        assert!(!process.wait(Duration::ZERO));
        process.end(Duration::from_secs(60)).unwrap();
        assert!(find(&known).is_none(), "it is dead although its parent has not waited for it");
        assert!(!child.wait().unwrap().success());
        process.signal(Signal::TERM).unwrap();
    }
    #[test]
    fn a_process_on_another_machine_is_neither_alive_nor_gone() {
        let here = Host { name: "a".into(), machine: "m".into(), boot: "b".into(), processes: "p".into() };
        let other = |change: fn(&mut Host)| {
            let mut other = here.clone();
            change(&mut other);
            other.is_seen_from(&here)
        };
        assert_eq!(other(|_| {}), Some(true));
        assert_eq!(other(|other| other.name = "renamed".into()), Some(true));
        assert_eq!(other(|other| other.boot = "before".into()), Some(false), "it was restarted in between");
        assert_eq!(other(|other| other.processes = "container".into()), None);
        assert_eq!(other(|other| (other.boot, other.name) = ("x".into(), "copy".into())), None);
        assert_eq!(other(|other| (other.boot, other.machine) = ("x".into(), "n".into())), None);
        assert_eq!(other(|other| other.boot.clear()), None);
        let nameless = Host { machine: String::new(), ..here.clone() };
        assert_eq!(Host { boot: "x".into(), ..nameless.clone() }.is_seen_from(&nameless), None);
    }
}
