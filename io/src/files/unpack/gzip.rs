//! The members of a gzip file, one after another.

use super::{PACKED_BUFFER, STATE_BYTES};
use crate::files::plain::Plain;
use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, BufReader, Read};
use tryworks_base::memory::Reservation;
use tryworks_core::task::TaskContext;

/// The members of a gzip file.
pub(crate) struct Gzip {
    /// Absent only while one member's reader moves to the next member.
    decoder: Option<GzDecoder<BufReader<Plain>>>,
    _held: Reservation,
}

impl Gzip {
    pub(crate) fn new(plain: Plain, task: &TaskContext) -> Self {
        let mut held = task.host().memory().reservation();
        held.insist(PACKED_BUFFER as u64 + STATE_BYTES);
        Gzip { decoder: Some(GzDecoder::new(BufReader::with_capacity(PACKED_BUFFER, plain))), _held: held }
    }

    pub(crate) fn input(&self) -> Option<&BufReader<Plain>> {
        self.decoder.as_ref().map(GzDecoder::get_ref)
    }

    /// Goes to the next member; false at the end. Zeros after a member are padding: tapes and block devices leave them.
    fn next_member(&mut self) -> io::Result<bool> {
        let Some(decoder) = &mut self.decoder else { return Ok(false) };
        let input = decoder.get_mut();
        loop {
            let ahead = input.fill_buf()?;
            let zeros = ahead.iter().position(|byte| *byte != 0).unwrap_or(ahead.len());
            match ahead.get(zeros) {
                Some(0x1f) => {
                    input.consume(zeros);
                    break;
                }
                Some(other) => {
                    let message = format!("after a gzip member there is neither another one nor zeros (0x{other:02x})");
                    input.consume(zeros);
                    return Err(io::Error::other(message));
                }
                None if zeros == 0 => return Ok(false),
                None => input.consume(zeros),
            }
        }
        self.decoder = self.decoder.take().map(|decoder| GzDecoder::new(decoder.into_inner()));
        Ok(true)
    }
}

impl Read for Gzip {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.decoder.as_mut().map_or(Ok(0), |decoder| decoder.read(out))?;
            if read > 0 || out.is_empty() || !self.next_member()? {
                return Ok(read);
            }
        }
    }
}
