//! A file system that is soon full.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A small file system in memory, at this path. It is unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(pub PathBuf);

fn quiet(command: &str, arguments: &[&str], directory: &Path) -> bool {
    let mut command = Command::new(command);
    command.args(arguments).arg(directory).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl SmallDisk {
    /// Mounts a file system of `size`, as `mount` takes it (`"4m"`). `None` if this user may not mount: then the test
    /// says so and is skipped.
    pub fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("tw").tempdir_in("/tmp").expect("a directory in /tmp").keep();
        if quiet("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tryworks-test"], &directory) {
            return Some(SmallDisk(directory));
        }
        eprintln!("skipped: a file system cannot be mounted here");
        std::fs::remove_dir(directory).expect("it is empty");
        None
    }

    /// Fills the file system, and returns the file that takes the space. Removing that file frees the space.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut filler = File::create(&path).expect("an empty file needs no space");
        // Writes smaller and smaller pieces, until not even a byte fits.
        for size in [1 << 20, 4 << 10, 1] {
            while filler.write_all(&vec![1; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        quiet("umount", &["-l"], &self.0);
        let _ = std::fs::remove_dir(&self.0);
    }
}
