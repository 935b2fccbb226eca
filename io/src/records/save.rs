//! Saves records: part files that contain records and nothing else.

use super::Records;
use crate::places::{Directory, only_directory};
use serde::{Deserialize, Serialize};
use tryworks_base::Result;
use tryworks_core::Record;
use tryworks_core::sink::{Buffer, Encoder, Format, OneFile, Sink};
use tryworks_core::task::TaskContext;

/// Writes each record as its bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RecordBytes;

impl<const N: usize> Format<Record<N>> for RecordBytes {
    type Encoder = RecordBytes;

    fn begin(&self, _: &TaskContext, _: &mut Buffer) -> Result<RecordBytes> {
        Ok(RecordBytes)
    }
}

impl<const N: usize> Encoder<Record<N>> for RecordBytes {
    #[inline]
    fn write(&mut self, record: Record<N>, to: &mut Buffer) -> Result<()> {
        to.bytes().extend_from_slice(&record.0);
        Ok(())
    }

    fn end(self, _: &mut Buffer) -> Result<()> {
        Ok(())
    }
}

impl<const N: usize> Sink<Record<N>> for Records<N> {
    type Layout = OneFile<RecordBytes>;
    type Place = Directory;

    fn into_pair(self) -> Result<(OneFile<RecordBytes>, Directory)> {
        let options = [("split_bytes", self.split_bytes.is_some()), ("from_driver", self.from_driver)];
        Ok((OneFile(RecordBytes), only_directory(&self.paths, "records", &options)?))
    }
}
