//! The driver as a place: files arrive with the results of tasks, and the driver writes them to another place.

use super::{FileName, Part, Place, Receipt, SaveRequest};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tryworks_base::Result;

/// A place that only the driver writes to.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AtDriver<P>(pub(crate) P);

impl<P: Place> Place for AtDriver<P> {
    type Part = Carried;

    fn title(&self) -> String {
        self.0.title()
    }

    fn prepare(&mut self, request: &SaveRequest<'_>) -> Result<bool> {
        self.0.prepare(request)
    }

    fn open(&self, name: FileName, _: u64) -> Result<Carried> {
        Ok(Carried { name, bytes: Vec::new() })
    }

    fn accept(&mut self, partition: u32, files: Vec<(FileName, ByteBuf)>) -> Result<()> {
        let write = |(name, bytes): (FileName, ByteBuf)| -> Result<Receipt<P>> {
            // Only the driver writes, once, whichever attempt made the bytes.
            let mut part = self.0.open(name, 0)?;
            part.write(&bytes)?;
            part.commit()
        };
        let receipts: Result<Vec<Receipt<P>>> = files.into_iter().map(write).collect();
        self.0.accept(partition, receipts?)
    }

    fn finish(&mut self) -> Result<()> {
        self.0.finish()
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    fn abandon(&mut self) {
        self.0.abandon();
    }
}

/// A file on its way to the driver.
pub(crate) struct Carried {
    name: FileName,
    bytes: Vec<u8>,
}

impl Part for Carried {
    type Receipt = (FileName, ByteBuf);

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.bytes.capacity() as u64
    }

    fn commit(self) -> Result<(FileName, ByteBuf)> {
        Ok((self.name, ByteBuf::from(self.bytes)))
    }
}
