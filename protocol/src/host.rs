//! What a cluster needs to know of the machine that this process runs on.

use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tryworks_base::resident::machine_memory;

/// What answers or refusals may need to know of a machine and a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInfo {
    /// Two processes with the same id see the same files.
    pub id: String,
    /// The name of the machine, for people.
    pub name: String,
    /// The number of its cores.
    pub cores: u32,
    /// Its memory in bytes, or what its control group allows.
    pub memory: u64,
    /// The C library: `exp`, `sin` and the like may differ between two of them.
    pub libc: String,
    /// The kind of processor.
    pub processor: String,
    /// The process id.
    pub pid: u32,
    /// When the process began, in clock ticks since the machine booted. Together with the process id it is unique
    /// within a boot.
    pub began: u64,
}

/// This machine and process.
///
/// ```
/// assert_eq!(tryworks_protocol::host::here().pid, std::process::id());
/// ```
pub fn here() -> HostInfo {
    static HERE: OnceLock<HostInfo> = OnceLock::new();
    let text = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_string()).unwrap_or_default();
    HERE.get_or_init(|| {
        let name = text("/proc/sys/kernel/hostname");
        // Processes of one boot that see the same mounts see the same files.
        let mounts = fs::read_link("/proc/self/ns/mnt").unwrap_or_default();
        let same = format!("{} {} {name}", text("/proc/sys/kernel/random/boot_id"), mounts.display());
        HostInfo {
            id: blake3::hash(same.as_bytes()).to_hex()[..16].to_string(),
            name,
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            memory: machine_memory(),
            libc: libc(),
            processor: processor(&text("/proc/cpuinfo")),
            pid: std::process::id(),
            began: began(std::process::id()).unwrap_or_default(),
        }
    })
    .clone()
}

/// Whether a process has ended; `None` if it is on another machine, so that this cannot be known.
///
/// A zombie counts as ended. A process in a container may have another number here, so the caller must have seen it
/// alive.
///
/// ```
/// use tryworks_protocol::host::{has_ended, here};
/// assert_eq!(has_ended(&here()), Some(false));
/// assert_eq!(has_ended(&tryworks_protocol::HostInfo { began: 1, ..here() }), Some(true));
/// ```
pub fn has_ended(process: &HostInfo) -> Option<bool> {
    if process.id != here().id {
        return None;
    }
    Some(began(process.pid) != Some(process.began))
}

/// When the process with this number began, in clock ticks since the machine booted; `None` if there is none. A zombie
/// does not count.
///
/// ```
/// use tryworks_protocol::host::{began, here};
/// assert_eq!(began(std::process::id()), Some(here().began));
/// assert_eq!(began(u32::MAX), None);
/// ```
pub fn began(pid: u32) -> Option<u64> {
    start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The start time in the text of `/proc/PID/stat`, unless the process is dead.
fn start_time(stat: &str) -> Option<u64> {
    // The process name may contain spaces and brackets: the last bracket closes it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Names the C library by its math library and the size of that file. A statically linked program has none.
fn libc() -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let files = maps.lines().filter_map(|line| line.split_once('/').map(|(_, path)| format!("/{path}")));
    let named =
        |path: &String| Path::new(path).file_name().is_some_and(|name| name.to_string_lossy().starts_with("libm"));
    match files.into_iter().find(named) {
        Some(path) => format!("{path}, {} bytes", fs::metadata(&path).map_or(0, |file| file.len())),
        None => "none".into(),
    }
}

/// The kind of processor, from the text of `/proc/cpuinfo`.
fn processor(text: &str) -> String {
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|field| field.trim() == name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_string())
    };
    let fields = ["vendor_id", "cpu family", "model", "CPU implementer", "CPU part"].into_iter().filter_map(field);
    fields.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_its_family_and_model() {
        let text = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: X\n";
        assert_eq!(processor(text), "GenuineIntel 6 143");
    }

    #[test]
    fn a_process_has_ended_when_it_is_killed_waited_for_or_not() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = HostInfo { pid: child.id(), began: began(child.id()).unwrap(), ..here() };
        assert_eq!(has_ended(&process), Some(false));
        assert_eq!(has_ended(&HostInfo { began: process.began + 1, ..process.clone() }), Some(true), "another one");
        assert_eq!(has_ended(&HostInfo { id: "elsewhere".into(), ..process.clone() }), None);
        child.kill().unwrap();
        while has_ended(&process) == Some(false) {
            std::thread::yield_now();
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        assert!(stat.contains(") Z "), "its parent has not waited for it: {stat}");
        child.wait().unwrap();
        assert_eq!(has_ended(&process), Some(true));
    }

    #[test]
    fn names_may_look_like_fields() {
        let fields = (4..=21).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(start_time(&format!("7 (a) Z 1) S {fields} 555 23 24")), Some(555));
        assert_eq!(start_time(&format!("7 (a) Z {fields} 555 23")), None);
        assert_eq!(start_time("7 (a"), None);
    }

    #[test]
    fn two_looks_see_the_same_machine() {
        assert_eq!(here().id, here().id);
        assert!(!here().name.is_empty() && here().memory > 0 && here().cores > 0);
    }
}
