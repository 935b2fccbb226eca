//! The log of a process that serves: its standard error, or a file whose size is bounded.

use rustix::stdio::dup2_stderr;
use std::fs::{self, File};
use std::io::{self, Write, stderr};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tracing_subscriber::fmt::MakeWriter;
use tryworks_base::lock::Lock;
use tryworks_base::outlet;

/// A log of this many bytes is renamed, and a new one is begun beside it.
const BOUND: u64 = 8 << 20;

/// The first thing that a process that serves does. It sets the name that lists of processes show, and sends the log to
/// the file or to standard error.
pub fn begin(file: Option<&Path>) {
    // A process that was started as /proc/self/exe would be called `exe`.
    let _ = rustix::thread::set_name(c"tryworks");
    let log = Log(file.map(|path| Lock::new(Rotating { path: path.into(), bound: BOUND })));
    log.open();
    // The library reports its own errors by a macro that panics when they cannot be written.
    let format = tracing_subscriber::fmt().log_internal_errors(false).with_ansi(false).with_target(false);
    format.with_writer(log).init();
}

/// Where the lines of the log go.
struct Log(Option<Lock<Rotating>>);

impl Log {
    /// Makes the file the standard error of this process, so that everything it writes is there, its last words too.
    fn open(&self) {
        let Some(file) = &self.0 else { return };
        let file = file.lock();
        let opened = file.append().and_then(|new| take(&new));
        if let Err(error) = opened.and_then(|()| file.rotate(&stderr())) {
            let text = format!("{} cannot be used as a log: {error}\n", file.path.display());
            outlet::ERR.log(text.as_bytes());
        }
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self.0.as_ref())
    }
}

/// A line that is being written to the log.
struct Line<'a>(Option<&'a Lock<Rotating>>);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // If the file cannot be rotated, the line cannot be written either, or the failure does no harm.
        let file = self.0.map(|file| file.lock());
        let _ = file.map(|file| file.rotate(&stderr()));
        outlet::ERR.log(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is renamed and begun again when it is large.
struct Rotating {
    path: PathBuf,
    bound: u64,
}

impl Rotating {
    fn append(&self) -> io::Result<File> {
        File::options().create(true).append(true).mode(0o600).open(&self.path)
    }

    /// Begins another file if the present one has become large.
    fn rotate(&self, now: &impl AsFd) -> io::Result<()> {
        match self.exchanged(now)? {
            Some(new) => take(&new),
            None => Ok(()),
        }
    }

    fn exchanged(&self, now: &impl AsFd) -> io::Result<Option<File>> {
        if rustix::fs::fstat(now)?.st_size.cast_unsigned() < self.bound {
            return Ok(None);
        }
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        fs::rename(&self.path, &old)?;
        let new = self.append();
        if new.is_err() {
            // No new file could be created: the log continues in the old one, under its own name.
            fs::rename(&old, &self.path)?;
        }
        new.map(Some)
    }
}

fn take(file: &File) -> io::Result<()> {
    Ok(dup2_stderr(file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_exchanged_when_it_is_large_and_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let log = Rotating { path: directory.path().join("log"), bound: 10 };
        let mut file = log.append().unwrap();
        for line in ["first line\n", "second line\n", "third\n"] {
            if let Some(new) = log.exchanged(&file).unwrap() {
                file = new;
            }
            file.write_all(line.as_bytes()).unwrap();
        }
        let text = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!([text("log"), text("log.1")], ["third\n", "second line\n"]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
