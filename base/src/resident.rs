//! How much memory this process holds, and how much it may hold.

use crate::time::Clock;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The anonymous memory of this process, in bytes: what it allocated itself, without mapped files.
///
/// # Errors
/// If `/proc` is not there.
///
/// ```
/// let before = tryworks_base::resident::anonymous_resident().unwrap();
/// let held = vec![1u8; 64 << 20];
/// assert!(tryworks_base::resident::anonymous_resident().unwrap() >= before + (48 << 20));
/// drop(held);
/// ```
pub fn anonymous_resident() -> Result<u64> {
    let path = "/proc/self/status";
    let status = fs::read_to_string(path).map_err(|error| Error::storage("reading the memory held", path, &error))?;
    kilobytes(&status, "RssAnon:").ok_or_else(|| Error::Storage {
        doing: "reading the memory held".into(),
        path: path.into(),
        message: "there is no line `RssAnon`".into(),
    })
}

/// The most memory that this process may use, in bytes. It is that of the machine, or the limit of its control group
/// (or of one around it) if that is less. Without `/proc` it is taken to be 1 GiB.
///
/// ```
/// assert!(tryworks_base::resident::machine_memory() > 1 << 20);
/// ```
pub fn machine_memory() -> u64 {
    let all =
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemTotal:")).unwrap_or(1 << 30);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    group_limit(&groups, Path::new("/sys/fs/cgroup")).map_or(all, |limit| limit.min(all))
}

/// Returns the anonymous resident set if the last look began longer ago than the given age: the gauge for
/// [`Memory::watched`](crate::memory::Memory::watched). If the system gives no number, the estimates stand alone.
///
/// ```
/// use tryworks_base::memory::Memory;
/// let memory = Memory::watched(1 << 40, tryworks_base::resident::gauge());
/// assert!(memory.reservation().grow(1 << 20));
/// ```
pub fn gauge() -> impl Fn(Duration) -> Option<u64> + Send + Sync + 'static {
    let clock = Clock::begin();
    // When the last look began, in nanoseconds; zero if there was none.
    let begun = AtomicU64::new(0);
    move |oldest| {
        let (now, last) = (clock.now().0.max(1), begun.load(Relaxed));
        let due = last == 0 || now >= last.saturating_add(oldest.as_nanos() as u64);
        if !due || begun.compare_exchange(last, now, Relaxed, Relaxed).is_err() {
            return None;
        }
        let resident = anonymous_resident().ok()?;
        // A thread that lost its core meanwhile has an old number, and another thread has looked since.
        (begun.load(Relaxed) == now).then_some(resident)
    }
}

/// The number of bytes in a line such as `MemTotal:  1024 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest limit of the control groups in `groups` (the text of `/proc/self/cgroup`), which are mounted at `root`.
fn group_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        match controllers {
            "" => least(root, path, "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                least(&root.join("memory"), path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    limits.min()
}

/// The smallest limit that `file` states in the group `path` under `root` and in the groups around it.
fn least(root: &Path, path: &str, file: &str) -> Option<u64> {
    let mut group: PathBuf = root.join(path.trim_start_matches('/'));
    let mut least = None;
    loop {
        // "No limit" is `max` in one version and a huge number in the other. In a container the path may be one of the
        // machine outside: then no file is found until the root is reached.
        let limit = fs::read_to_string(group.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
        least = [least, limit].into_iter().flatten().min();
        if group == root || !group.pop() || !group.starts_with(root) {
            return least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_the_groups_around_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/b/c/memory.max", "max\n");
        write("a/b/memory.max", "5000\n");
        write("a/memory.max", "9000\n");
        write("memory/x/y/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/x/memory.limit_in_bytes", "4000\n");
        let limit = |groups: &str| group_limit(groups, root.path());
        assert_eq!(limit("0::/a/b/c\n"), Some(5000));
        assert_eq!(limit("0::/a\n"), Some(9000));
        assert_eq!(limit("0::/elsewhere/on/the/machine\n"), None);
        assert_eq!(limit("0::/../../outside\n"), None);
        assert_eq!(limit("4:cpu,memory:/x/y\n1:name=systemd:/a\n"), Some(4000));
        assert_eq!(limit(""), None);
        write("memory.max", "7\n");
        assert_eq!(limit("0::/not/there\n"), Some(7));
    }

    #[test]
    fn lines_of_kilobytes_are_read() {
        assert_eq!(kilobytes("A: 1 kB\nRssAnon:\t   12 kB\n", "RssAnon:"), Some(12 * 1024));
        assert_eq!(kilobytes("RssAnon: 12 MB\n", "RssAnon:"), None);
    }
}
