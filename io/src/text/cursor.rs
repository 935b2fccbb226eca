//! The lines of one text partition: whole buffers are validated at once, then cut at their newlines.

use crate::files::{Bytes, ListedFile, Plain};
use memchr::{memchr, memchr_iter, memrchr};
use std::ops::Range;
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Result};
use tryworks_core::pipe::{Cursor, Flow, Step};
use tryworks_core::task::TaskContext;

/// How much is read at a time. A longer line is read too, into more memory.
const BUFFER: usize = 256 * 1024;
/// The length of a line, as a budget counts it for text that is not cut into lines.
const LINE: usize = 64;
/// How much is read first to find the end of a line that continues after its split.
const BEYOND: usize = 4 * 1024;
/// How much is read to find where the first line of a split begins: the first time, and at most.
const FIRST_LOOK: usize = 4 * 1024;
const LOOK: usize = 64 * 1024;
/// Some programs write this at the beginning of a file to say that it is UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A text partition being read.
pub struct TextCursor {
    bytes: Bytes,
    lossy: bool,
    /// Lines that begin here or later belong to the next partition.
    end: u64,
    /// How far the text was read. For a compressed file this is not the position on the disk.
    position: u64,
    /// Whole, valid lines; those before `at` have been pushed. As a `String` it is validated only once, and its bytes
    /// can be reused for the next read at no cost.
    text: String,
    at: usize,
    /// Bytes after the last whole line.
    tail: Vec<u8>,
    /// Nothing follows `text`, except this error if there is one.
    ended: bool,
    fault: Option<Error>,
    /// The buffer's share of the budget.
    held: Reservation,
    limit: u64,
}

impl TextCursor {
    pub(super) fn open(file: &ListedFile, split: Range<u64>, lossy: bool, task: &TaskContext) -> Result<Self> {
        let mut bytes = Bytes::open(file, task)?;
        if let Bytes::Plain(plain) = &mut bytes {
            go_to_line(plain, split.clone())?;
        }
        let end = if bytes.compressed() { u64::MAX } else { split.end };
        let mut held = task.host().memory().reservation();
        let capacity = end.saturating_sub(bytes.at()).min(BUFFER as u64);
        held.insist(capacity);
        Ok(TextCursor {
            end,
            position: bytes.at(),
            bytes,
            lossy,
            text: String::with_capacity(capacity as usize),
            at: 0,
            tail: Vec::new(),
            ended: false,
            fault: None,
            held,
            limit: task.host().memory().limit(),
        })
    }

    /// Reads until there is at least one whole line, or the input ends.
    fn fill(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.text).into_bytes();
        buffer.clear();
        buffer.append(&mut self.tail);
        self.at = 0;
        let start = self.position - buffer.len() as u64;
        let whole = loop {
            let inside = self.end.saturating_sub(self.position);
            let known = buffer.len();
            if inside == 0 && known == 0 {
                self.ended = true;
                return Ok(());
            }
            // Beyond the split, little is read at a time: only the end of its last line is missing. Inside, each read
            // at least doubles what is known of a long line, so that the line is copied only a few times.
            let most = match inside {
                0 => known.clamp(BEYOND, BUFFER),
                _ => BUFFER.saturating_sub(known).max(known).min(usize::try_from(inside).unwrap_or(usize::MAX)),
            };
            self.reserve(start, known + most)?;
            let read = self.bytes.append(most, &mut buffer)?;
            self.position += read as u64;
            if read == 0 {
                self.ended = true;
                break known;
            }
            // Inside the split all whole lines count; beyond it, the first newline ends the last line.
            let newline = if inside > 0 { memrchr(b'\n', &buffer[known..]) } else { memchr(b'\n', &buffer[known..]) };
            if let Some(newline) = newline {
                self.ended = inside == 0;
                break known + newline + 1;
            }
        };
        if !self.ended {
            self.tail.extend_from_slice(&buffer[whole..]);
        }
        buffer.truncate(whole);
        self.accept(buffer, start);
        if start == 0 && self.text.starts_with(BYTE_ORDER_MARK) {
            self.at = BYTE_ORDER_MARK.len_utf8();
        }
        Ok(())
    }

    /// Goes on behind the lines that were read: reads more, or ends.
    fn goes_on(&mut self) -> Result<Step> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.ended {
            return self.bytes.check().map(|()| Step::Done);
        }
        self.fill().map(|()| Step::More)
    }

    /// Reserves a buffer of `capacity` bytes: a single line may be longer than all memory.
    fn reserve(&mut self, start: u64, capacity: usize) -> Result<()> {
        let capacity = capacity as u64;
        if capacity <= self.held.bytes().max(BUFFER as u64) || self.held.resize(capacity) {
            return Ok(());
        }
        let needed =
            format!("a line of more than {} bytes at byte {start} of {}", capacity / 2, self.bytes.path().display());
        Err(Error::limit("memory", self.limit, needed, "more memory; or is this a file of lines?"))
    }

    /// Validates the bytes that begin at `start` in the file.
    fn accept(&mut self, buffer: Vec<u8>, start: u64) {
        let error = match String::from_utf8(buffer) {
            Ok(text) => return self.text = text,
            Err(error) if self.lossy => return self.text = String::from_utf8_lossy(error.as_bytes()).into_owned(),
            Err(error) => error,
        };
        let good = error.utf8_error().valid_up_to();
        let mut buffer = error.into_bytes();
        let whose = if self.bytes.compressed() { " of the text that was compressed" } else { "" };
        let message = match &buffer[..] {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if start == 0 => {
                "this text is UTF-16; convert it to UTF-8, for example with `iconv -f UTF-16 -t UTF-8`".to_string()
            }
            _ => format!("this byte{whose} is not UTF-8 (0x{:02x}); `text(..).lossy()` reads such text", buffer[good]),
        };
        self.fault = Some(Error::input(self.bytes.path().display(), Some(start + good as u64), message));
        self.ended = true;
        // The lines before the invalid byte are good.
        buffer.truncate(memrchr(b'\n', &buffer[..good]).map_or(0, |newline| newline + 1));
        self.text = String::from_utf8(buffer).unwrap_or_default();
    }
}

/// Goes to the first line that begins in `split`; to the end of the split if none does.
fn go_to_line(plain: &mut Plain, split: Range<u64>) -> Result<()> {
    // A line begins at the split's start if a newline precedes it.
    plain.go_to(split.start.saturating_sub(1));
    if split.start == 0 {
        return Ok(());
    }
    let mut chunk = Vec::new();
    let mut most = FIRST_LOOK;
    while plain.at() < split.end {
        chunk.clear();
        let begin = plain.at();
        plain.append(most.min((split.end - begin).min(LOOK as u64) as usize), &mut chunk)?;
        if let Some(newline) = memchr(b'\n', &chunk) {
            plain.go_to(begin + newline as u64 + 1);
            return Ok(());
        }
        most = (most * 2).min(LOOK);
    }
    Ok(())
}

/// The line without the carriage return that files of other systems have.
#[inline]
fn trimmed(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}

impl Cursor for TextCursor {
    type Item = String;
    const EXPANDS: bool = false;

    fn advance<S: FnMut(String) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        let mut left = budget.max(1);
        loop {
            let base = self.at;
            for newline in memchr_iter(b'\n', &self.text.as_bytes()[base..]).take(left) {
                let line = &self.text[self.at..base + newline];
                self.at = base + newline + 1;
                left -= 1;
                if sink(trimmed(line).to_owned()).is_break() {
                    return Ok(Step::More);
                }
            }
            if left == 0 {
                return Ok(Step::More);
            }
            if self.at < self.text.len() {
                // The last line of the file has no newline: a carriage return there is part of the line.
                let line = &self.text[self.at..];
                self.at = self.text.len();
                left -= 1;
                if sink(line.to_owned()).is_break() || left == 0 {
                    return Ok(Step::More);
                }
            }
            if self.goes_on()? == Step::Done {
                return Ok(Step::Done);
            }
        }
    }

    fn advance_text<S: FnMut(&str) -> Flow>(&mut self, budget: usize, sink: &mut S) -> Result<Step> {
        while self.at == self.text.len() {
            if self.goes_on()? == Step::Done {
                return Ok(Step::Done);
            }
        }
        let rest = &self.text[self.at..];
        // Whole lines, of about as much text as `budget` lines have.
        let enough = rest.len().min(budget.max(1).saturating_mul(LINE));
        let end = memchr(b'\n', &rest.as_bytes()[enough..]).map_or(rest.len(), |newline| enough + newline + 1);
        self.at += end;
        let _ = sink(&rest[..end]);
        Ok(Step::More)
    }
}
