//! Output that waits to be printed: first in memory, then in an unnamed file, and at most up to a quota. What exceeds
//! the quota is cut, and a line says how much it was.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Condvar;
use tryworks_base::lock::{Lock, none_held};

/// How many bytes wait in memory.
const IN_MEMORY: usize = 1 << 20;
/// How many bytes each piece counts in memory besides its lines.
const PIECE: usize = 64;
/// How many bytes wait in the file.
const QUOTA: u64 = 64 << 20;
/// The head of each piece in the file has this many bytes: which output it is for, and its length.
const HEAD: usize = 5;

/// Lines on their way to the outputs of this process. Adding lines never waits for the reader of those outputs.
#[derive(Default)]
pub(super) struct Spool {
    state: Lock<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    first: VecDeque<(bool, Vec<u8>)>,
    memory: usize,
    later: Later,
    /// For each output, how many bytes were cut and not reported yet.
    cut: [u64; 2],
    /// How many pieces were added, and how many were printed or lost.
    pushed: u64,
    printed: u64,
    closed: bool,
    /// The printing thread has ended.
    over: bool,
}

/// Pieces in a file, which is used as a ring: writing continues at its beginning.
#[derive(Default)]
struct Later {
    file: Option<File>,
    begin: u64,
    end: u64,
    pieces: u64,
}

impl Spool {
    /// Adds whole lines.
    pub(super) fn push(&self, stderr: bool, lines: &[u8]) {
        let mut state = self.state.lock();
        state.push(stderr, lines);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until everything added so far is printed or cut.
    pub(super) fn drained(&self) {
        none_held("waiting for output to be printed");
        let mut state = self.state.lock();
        // The last cut is reported by a line after the rest.
        let all = state.pushed + u64::from(state.cut != [0, 0]);
        while state.printed < all && !state.over {
            state = state.wait(&self.changed);
        }
    }

    /// No more lines will be added.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Prints all lines that are added, until the spool is closed.
    pub(super) fn print(&self, mut print: impl FnMut(bool, &[u8])) {
        let _over = Over(self);
        while let Some((stderr, lines)) = self.next() {
            print(stderr, &lines);
            self.state.lock().printed += 1;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<(bool, Vec<u8>)> {
        let mut state = self.state.lock();
        loop {
            if let Some(next) = state.pop() {
                return Some(next);
            }
            if state.closed {
                return None;
            }
            state = state.wait(&self.changed);
        }
    }
}

/// Whatever ends the printing, no thread waits for it afterwards.
struct Over<'a>(&'a Spool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.state.lock().over = true;
        self.0.changed.notify_all();
    }
}

impl State {
    fn push(&mut self, stderr: bool, lines: &[u8]) {
        // Once output is cut, all of it is cut until half of the quota is free: that leaves few gaps.
        if self.cut != [0, 0] && self.later.len() <= QUOTA / 2 {
            self.tell();
        }
        if self.over || self.cut != [0, 0] || !self.put(stderr, lines) {
            self.cut[usize::from(stderr)] += lines.len() as u64;
        }
    }

    fn put(&mut self, stderr: bool, lines: &[u8]) -> bool {
        let size = lines.len() + PIECE;
        if self.later.len() == 0 && (self.memory + size <= IN_MEMORY || self.first.is_empty()) {
            self.first.push_back((stderr, lines.to_vec()));
            self.memory += size;
        } else if !self.later.push(stderr, lines) {
            return false;
        }
        self.pushed += 1;
        true
    }

    /// Adds lines that say how much was cut.
    fn tell(&mut self) {
        for stderr in [false, true] {
            let cut = self.cut[usize::from(stderr)];
            let line = format!("tryworks: {cut} bytes of output were cut here: they came faster than they were read\n");
            if cut > 0 && self.put(stderr, line.as_bytes()) {
                self.cut[usize::from(stderr)] = 0;
            }
        }
    }

    fn pop(&mut self) -> Option<(bool, Vec<u8>)> {
        if self.first.is_empty() && self.later.len() > 0 {
            match self.later.pop() {
                Ok(next) => return Some(next),
                Err(_) => {
                    // The remaining pieces cannot be read either.
                    let Later { begin, end, pieces, .. } = std::mem::take(&mut self.later);
                    self.printed += pieces;
                    self.cut[0] += end - begin - pieces * HEAD as u64;
                }
            }
        }
        if self.first.is_empty() {
            self.tell();
        }
        let next = self.first.pop_front()?;
        self.memory -= next.1.len() + PIECE;
        Some(next)
    }
}

impl Later {
    fn len(&self) -> u64 {
        self.end - self.begin
    }

    fn push(&mut self, stderr: bool, lines: &[u8]) -> bool {
        let Ok(len) = u32::try_from(lines.len()) else { return false };
        if self.len() + HEAD as u64 + u64::from(len) > QUOTA {
            return false;
        }
        let head = [[u8::from(stderr)].as_slice(), &len.to_le_bytes()].concat();
        // A full disk is treated like a quota that is used up.
        let written = self.write(self.end, &head).and_then(|()| self.write(self.end + HEAD as u64, lines));
        if written.is_err() {
            return false;
        }
        self.end += HEAD as u64 + u64::from(len);
        self.pieces += 1;
        true
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        let (before, after) = split(at, bytes.len());
        file.write_all_at(&bytes[..before], at % QUOTA)?;
        file.write_all_at(&bytes[before..before + after], 0)?;
        self.file = Some(file);
        Ok(())
    }

    fn pop(&mut self) -> io::Result<(bool, Vec<u8>)> {
        let mut head = [0; HEAD];
        self.read(self.begin, &mut head)?;
        let [stderr, len @ ..] = head;
        let mut lines = vec![0; u32::from_le_bytes(len) as usize];
        self.read(self.begin + HEAD as u64, &mut lines)?;
        self.begin += (HEAD + lines.len()) as u64;
        self.pieces -= 1;
        if self.len() == 0 {
            // This frees the disk space.
            *self = Later::default();
        }
        Ok((stderr != 0, lines))
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let (before, _) = split(at, bytes.len());
        file.read_exact_at(&mut bytes[..before], at % QUOTA)?;
        file.read_exact_at(&mut bytes[before..], 0)
    }
}

/// How many bytes fit before the end of the file, and how many continue at its beginning.
fn split(at: u64, len: usize) -> (usize, usize) {
    let before = (QUOTA - at % QUOTA).min(len as u64) as usize;
    (before, len - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: usize = 10_000;

    fn line(number: usize) -> Vec<u8> {
        let mut line = number.to_string().into_bytes();
        line.resize(LINE - 1, b'.');
        line.push(b'\n');
        line
    }

    /// Takes at most `most` pieces. Returns the numbers of their lines, and how much was cut before each.
    fn take(spool: &Spool, most: usize) -> Vec<(usize, usize)> {
        let mut lines = Vec::new();
        let mut cut = 0;
        for _ in 0..most {
            let Some((_, piece)) = spool.state.lock().pop() else { break };
            let text = String::from_utf8(piece).unwrap();
            match text.strip_prefix("tryworks: ") {
                Some(told) => cut = told.split(' ').next().unwrap().parse().unwrap(),
                None => lines.push((text.split('.').next().unwrap().parse().unwrap(), std::mem::take(&mut cut))),
            }
        }
        if cut > 0 {
            lines.push((usize::MAX, cut));
        }
        lines
    }

    #[test]
    fn output_within_the_quota_is_printed_in_order_while_the_file_is_reused() {
        let spool = Spool::default();
        let (mut pushed, mut taken) = (0, 0);
        // Five times the quota in all, but never more than the quota at once.
        while pushed < 5 * QUOTA as usize / LINE {
            (0..1000).for_each(|at| spool.push(at % 3 == 0, &line(pushed + at)));
            pushed += 1000;
            let some = take(&spool, 900);
            assert!(some.iter().enumerate().all(|(at, known)| *known == (taken + at, 0)), "from {taken} on");
            taken += some.len();
        }
        assert_eq!(taken + take(&spool, usize::MAX).len(), pushed);
        let state = spool.state.lock();
        assert!(state.memory == 0 && state.later.file.is_none());
    }

    #[test]
    fn output_beyond_the_quota_is_cut_and_a_line_says_how_much() {
        let spool = Spool::default();
        let many = 2 * QUOTA as usize / LINE;
        (0..many).for_each(|at| spool.push(false, &line(at)));
        assert!(spool.state.lock().memory <= IN_MEMORY);
        assert!(spool.state.lock().later.len() <= QUOTA);
        // Half of it is read, so there is space again.
        let before = take(&spool, many / 3);
        spool.push(false, &line(many));
        let after = take(&spool, usize::MAX);
        let (last, cut) = *after.last().unwrap();
        assert_eq!(last, many);
        let kept = before.len() + after.len() - 1;
        assert_eq!(cut, (many - kept) * LINE, "nothing else is missing");
        assert!(before.iter().chain(&after).take(kept).enumerate().all(|(at, known)| *known == (at, 0)));
        // If nothing comes after it, the cut is still reported.
        (0..many).for_each(|at| spool.push(false, &line(at)));
        let all = take(&spool, usize::MAX);
        assert_eq!(*all.last().unwrap(), (usize::MAX, (many + 1 - all.len()) * LINE));
    }

    #[test]
    fn waiting_ends_when_all_output_is_printed_or_printing_has_ended() {
        let spool = Spool::default();
        let mut printed = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| spool.print(|_, lines| printed.extend_from_slice(lines)));
            (0..1000).for_each(|at| spool.push(false, &line(at)));
            spool.drained();
            assert_eq!(spool.state.lock().printed, 1000);
            spool.close();
        });
        assert_eq!(printed.len(), 1000 * LINE);
        // The printing thread has ended.
        spool.push(false, b"more\n");
        spool.drained();
    }
}
