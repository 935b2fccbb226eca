//! The frames of a zstd file, one after another. Programs that do without the feature `zstd` link nothing of it.

use super::{PACKED_BUFFER, STATE_BYTES};
use crate::files::plain::Plain;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use tryworks_base::memory::Reservation;
use tryworks_base::{Error, Result};
use tryworks_core::task::TaskContext;
use zstd::stream::raw::{DParameter, Decoder, Operation};

/// A window that is never refused: the format demands it of every decompressor.
const USUAL_WINDOW: u64 = 8 << 20;
/// The largest window that the library knows, as a power of two.
const WINDOW_LOG_MAX: u32 = 31;
/// The length of the longest header of a frame.
const HEADER_BYTES: usize = 18;

/// The frames of a zstd file.
pub(crate) struct Zstd {
    decoder: Decoder<'static>,
    input: BufReader<Plain>,
    in_frame: bool,
    held: Reservation,
    /// The largest window that a task may use, and the budget that determines it.
    most: u64,
    limit: u64,
}

impl Zstd {
    pub(crate) fn new(plain: Plain, task: &TaskContext) -> Result<Self> {
        let begin = || {
            let mut decoder = Decoder::new()?;
            // This code refuses windows that are too large itself, with an error that says so.
            decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
            Ok(decoder)
        };
        let decoder = begin().map_err(|error: io::Error| Error::input(plain.path().display(), None, error))?;
        let limit = task.host().memory().limit();
        let mut held = task.host().memory().reservation();
        held.insist(PACKED_BUFFER as u64 + STATE_BYTES);
        Ok(Zstd {
            decoder,
            input: BufReader::with_capacity(PACKED_BUFFER, plain),
            in_frame: false,
            held,
            most: (limit / (2 * task.host().slots().max(1) as u64)).max(USUAL_WINDOW),
            limit,
        })
    }

    pub(crate) fn input(&self) -> &BufReader<Plain> {
        &self.input
    }

    /// Prepares for the next frame; false at the end of the file.
    fn begin(&mut self) -> io::Result<bool> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let mut header = [0; HEADER_BYTES];
        let plain = self.input.get_ref();
        let known = plain.peek(plain.at() - self.input.buffer().len() as u64, &mut header)?;
        let window = window(&header[..known]).unwrap_or(0);
        if window > self.most {
            let path = plain.path().display();
            let needed =
                format!("{path} is compressed with a window of {window} bytes, and a task may have {}", self.most);
            let advice = "more memory (`TRYWORKS_MEMORY`, or that of the engines), fewer tasks at a time, or compressing \
                          it again without `--long` and `--ultra`";
            return Err(io::Error::other(Error::limit("memory", self.limit, needed, advice)));
        }
        let needed = PACKED_BUFFER as u64 + STATE_BYTES + window;
        self.held.insist(needed.saturating_sub(self.held.bytes()));
        self.in_frame = true;
        Ok(true)
    }
}

impl Read for Zstd {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if out.is_empty() || !self.in_frame && !self.begin()? {
                return Ok(0);
            }
            let packed = self.input.fill_buf()?;
            let ended = packed.is_empty();
            let status = self.decoder.run_on_buffers(packed, out)?;
            self.input.consume(status.bytes_read);
            self.in_frame = status.remaining > 0;
            if status.bytes_written > 0 {
                return Ok(status.bytes_written);
            }
            if self.in_frame && ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// How far back, in bytes, the frame that begins with `header` refers: decompressing has to hold as much. `None` if
/// this is no zstd frame, or is cut off.
fn window(header: &[u8]) -> Option<u64> {
    let [0x28, 0xb5, 0x2f, 0xfd, about, rest @ ..] = header else { return None };
    if about & 0x20 == 0 {
        let (exponent, eighths) = (rest.first()? >> 3, u64::from(rest.first()? & 7));
        let base = 1u64 << (10 + exponent);
        return Some(base + base / 8 * eighths);
    }
    // A single segment is its own window: its length follows the number of the dictionary.
    let length = rest.get([0, 1, 2, 4][usize::from(about & 3)]..)?;
    let number = |bytes: usize| {
        let bytes = length.get(..bytes)?;
        Some(bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    match about >> 6 {
        0 => number(1),
        1 => number(2).map(|number| number + 256),
        2 => number(4),
        _ => number(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zstd::stream::raw::CParameter;

    #[test]
    fn windows_are_read_from_the_headers_of_frames() {
        for log in [10, 17, 23, 27] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.set_parameter(CParameter::WindowLog(log)).unwrap();
            encoder.write_all(&[7; 3000]).unwrap();
            assert_eq!(window(&encoder.finish().unwrap()), Some(1 << log));
        }
        for bytes in [0, 1, 255, 256, 65_791, 65_792, 1 << 20] {
            // Compressed in one call, so that the length is known and the frame is a single segment.
            let packed = zstd::bulk::compress(&vec![7; bytes], 3).unwrap();
            assert_eq!(window(&packed), Some(bytes as u64), "{bytes} bytes");
        }
        assert_eq!(window(b"\x50\x2a\x4d\x18\x04\0\0\0"), None, "a frame to be skipped");
        assert_eq!(window(b"\x28\xb5\x2f\xfd"), None);
    }
}
