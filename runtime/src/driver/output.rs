//! Prints the output of tasks on the driver's own outputs: each line with its engine in front, and each byte once.

use super::spool::Spool;
use crate::screen::Shown;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use tryworks_base::{Error, Result, outlet};
use tryworks_protocol::output::Written;

/// Prints the output of tasks on a separate thread, so that a slow reader of the terminal delays nothing else.
pub(super) struct Printer {
    spool: Arc<Spool>,
    thread: Option<JoinHandle<()>>,
    /// For each output of a worker: how much was printed, and the unfinished line.
    streams: HashMap<(u64, bool), Stream>,
}

#[derive(Default)]
struct Stream {
    /// The text before each line.
    prefix: String,
    printed: u64,
    line: Vec<u8>,
}

/// An unfinished line is printed when it is longer than this, in bytes.
const LONGEST: usize = 64 << 10;

impl Printer {
    /// Prints what waits in `spool`, without disturbing what the screen shows.
    pub(super) fn new(screen: Arc<Shown>, spool: Arc<Spool>) -> Result<Self> {
        let print = move |stderr: bool, lines: &[u8]| {
            let to = if stderr { &outlet::ERR } else { &outlet::OUT };
            screen.aside(|| to.write(lines));
        };
        let inside = spool.clone();
        let thread = std::thread::Builder::new().name("tryworks-printer".into()).spawn(move || inside.print(print));
        let thread = thread.map_err(|error| Error::storage("starting a thread", "this process", &error))?;
        Ok(Printer { spool, thread: Some(thread), streams: HashMap::new() })
    }

    /// Prints a message about the cluster itself.
    pub(super) fn note(&self, text: &str) {
        self.print(true, format!("tryworks: {text}\n").as_bytes());
    }

    pub(super) fn output(&mut self, written: &Written) {
        let lines = self.lines(written);
        self.print(written.stderr, &lines);
    }

    /// Prints unfinished lines, when no more output will come.
    pub(super) fn finish(&mut self) {
        for ((_, stderr), stream) in std::mem::take(&mut self.streams) {
            if stream.line.is_empty() {
                continue;
            }
            let line = [stream.prefix.as_bytes(), &stream.line, b"\n"].concat();
            self.print(stderr, &line);
        }
    }

    fn print(&self, stderr: bool, lines: &[u8]) {
        if !lines.is_empty() {
            self.spool.push(stderr, lines);
        }
    }

    /// The lines that are complete now, each with its engine in front.
    fn lines(&mut self, written: &Written) -> Vec<u8> {
        let stream = self.streams.entry((written.run, written.stderr)).or_default();
        if stream.prefix.is_empty() {
            stream.prefix = format!("[{} worker {}] ", written.name, written.worker);
        }
        let prefix = &stream.prefix;
        let mut out = Vec::new();
        let end = written.heard().offset;
        // After a reconnection, a piece may begin with bytes that were already printed.
        let known = stream.printed.saturating_sub(written.offset).min(written.bytes.len() as u64);
        if end <= stream.printed {
            return out;
        }
        if let missing @ 1.. = written.offset.saturating_sub(stream.printed) {
            if !stream.line.is_empty() {
                out = [prefix.as_bytes(), &std::mem::take(&mut stream.line), b"\n"].concat();
            }
            let told = "bytes of its output are missing here: they came faster than they were read";
            out.extend_from_slice(format!("{prefix}tryworks: {missing} {told}\n").as_bytes());
        }
        stream.printed = end;
        stream.line.extend_from_slice(&written.bytes[known as usize..]);
        let whole = match stream.line.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if stream.line.len() > LONGEST => stream.line.len(),
            None => return out,
        };
        for line in stream.line[..whole].split_inclusive(|byte| *byte == b'\n') {
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(line);
        }
        stream.line.drain(..whole);
        out
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.spool.close();
        // The thread prints what is left. If it panicked, it has reported that itself.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tryworks_base::ids::EngineId;

    fn written(offset: u64, text: &str) -> Written {
        Written {
            engine: EngineId(1),
            name: "e1".into(),
            run: 1,
            worker: 7,
            stderr: false,
            offset,
            attempt: None,
            bytes: text.into(),
        }
    }

    #[test]
    fn bytes_that_arrive_twice_are_printed_once() {
        let mut printer = Printer::new(Arc::default(), Arc::default()).unwrap();
        assert_eq!(printer.lines(&written(0, "one\ntw")), b"[e1 worker 7] one\n");
        assert_eq!(printer.lines(&written(0, "one\ntw")), b"");
        assert_eq!(printer.lines(&written(4, "two\nthree\n")), b"[e1 worker 7] two\n[e1 worker 7] three\n");
        assert_eq!(printer.lines(&written(8, "three\n")), b"");
    }

    /// The second worker's first lines were mistaken for lines that the first worker had printed.
    #[test]
    fn a_reused_process_number_does_not_hide_the_first_lines_of_a_worker() {
        let mut printer = Printer::new(Arc::default(), Arc::default()).unwrap();
        assert_eq!(printer.lines(&written(0, "the first says much\n")), b"[e1 worker 7] the first says much\n");
        let second = |offset, text| Written { run: 2, ..written(offset, text) };
        assert_eq!(printer.lines(&second(0, "second\n")), b"[e1 worker 7] second\n");
        assert_eq!(printer.lines(&second(7, "more\n")), b"[e1 worker 7] more\n");
    }

    #[test]
    fn missing_output_is_reported() {
        let mut printer = Printer::new(Arc::default(), Arc::default()).unwrap();
        assert_eq!(printer.lines(&written(0, "one\ntw")), b"[e1 worker 7] one\n");
        let told = |missing: u64| {
            let told = "bytes of its output are missing here: they came faster than they were read";
            format!("[e1 worker 7] tryworks: {missing} {told}\n")
        };
        let expected = format!("[e1 worker 7] tw\n{}[e1 worker 7] end\n", told(94));
        assert_eq!(String::from_utf8(printer.lines(&written(100, "end\n"))).unwrap(), expected);
        // A gap at the end, after which no output comes.
        assert_eq!(String::from_utf8(printer.lines(&written(200, ""))).unwrap(), told(96));
        assert_eq!(printer.lines(&written(200, "")), b"");
    }
}
