//! The driver of a test: its own executable, started again.

use super::shared::DIRECTORY;
use super::{DEADLINE, until};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Set in drivers and in workers.
const ROLE: &str = "TRYWORKS_TEST_ROLE";

/// Whether this process is a driver or a worker: then the test has to act as the program.
pub fn driving() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// A driver that runs.
pub struct Driver {
    pub child: Child,
    outputs: [Arc<Mutex<Vec<u8>>>; 2],
    readers: Vec<JoinHandle<()>>,
}

/// A driver that has ended.
pub struct Done {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Driver {
    /// Starts it. Its output is not read yet.
    pub(super) fn begin(
        program: &Path,
        arguments: &[&str],
        home: &Path,
        shared: &Path,
        environment: &[(&str, &str)],
    ) -> Self {
        // A background process of a script ignores interrupts, and so do its children unless they are told otherwise.
        let mut command = Command::new("/usr/bin/env");
        command.arg("--default-signal=INT").arg(program).args(arguments).env(ROLE, "driver").env(DIRECTORY, shared);
        command.env("TRYWORKS_HOME", home).env("TRYWORKS_CLUSTER", "default").env("RUST_BACKTRACE", "0");
        command.envs(environment.iter().copied());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut driver = Driver { child, outputs: Default::default(), readers: Vec::new() };
        let err = driver.child.stderr.take().unwrap();
        driver.read(1, err);
        driver
    }

    fn read(&mut self, which: usize, mut from: impl Read + Send + 'static) {
        let to = self.outputs[which].clone();
        self.readers.push(std::thread::spawn(move || {
            let mut chunk = [0; 16 << 10];
            while let Ok(read @ 1..) = from.read(&mut chunk) {
                to.lock().unwrap().extend_from_slice(&chunk[..read]);
            }
        }));
    }

    /// Reads its output from now on.
    pub fn heard(mut self) -> Self {
        let out = self.child.stdout.take().unwrap();
        self.read(0, out);
        self
    }

    fn text(&self, which: usize) -> String {
        String::from_utf8_lossy(&self.outputs[which].lock().unwrap()).into_owned()
    }

    /// Its error output so far.
    pub fn err(&self) -> String {
        self.text(1)
    }

    /// Waits until this text is in its error output.
    #[track_caller]
    pub fn says(&self, what: &str) {
        until(what, || self.err().contains(what).then_some(()));
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ends(mut self) -> Done {
        let end = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "the driver does not end: {}{}", self.text(0), self.err());
            std::thread::sleep(Duration::from_millis(3));
        };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        Done { status, out: self.text(0), err: self.err() }
    }

    /// Waits for its end, which has to be successful.
    #[track_caller]
    pub fn ends_well(self) -> Done {
        let done = self.ends();
        assert!(done.status.success() && done.out.contains("1 passed"), "{}: {}{}", done.status, done.out, done.err);
        done
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
