//! A small disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A small file system in memory; unmounted when dropped.
pub struct SmallDisk(pub PathBuf);

fn quiet(command: &str, arguments: &[&str], directory: &Path) -> bool {
    let mut command = Command::new(command);
    command.args(arguments).arg(directory).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl SmallDisk {
    /// `None` where this user may not mount one.
    pub fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("tw").tempdir_in("/tmp").unwrap().keep();
        if quiet("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tryworks-test"], &directory) {
            return Some(SmallDisk(directory));
        }
        eprintln!("skipped: a file system cannot be mounted here");
        std::fs::remove_dir(directory).unwrap();
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        quiet("umount", &["-l"], &self.0);
        let _ = std::fs::remove_dir(&self.0);
    }
}
