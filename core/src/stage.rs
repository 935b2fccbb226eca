//! A stage: a pipe and what is done with its items, behind one pointer; and the output of a run.

use crate::host::MadeBlock;
use crate::ship::{Parcel, Role, Segments, pack, unpack};
use crate::task::TaskContext;
use serde::Serialize;
use std::any::Any;
use std::sync::Arc;
use tryworks_base::{Result, codec};

/// A stage with erased types: one `dyn` call per partition.
///
/// Unless the user's code is nondeterministic, running a partition again must give the same output, in any process.
pub trait Stage: Send + Sync + 'static {
    /// Runs one logical partition.
    ///
    /// # Errors
    /// An error of the input or of a user's function.
    fn run(&self, partition: u32, task: &TaskContext) -> Result<Output>;

    /// The stage as bytes, for another process of the same program.
    ///
    /// # Errors
    /// If a value in it refuses to be encoded.
    fn ship(&self) -> Result<Parcel>;
}

/// What the concrete stages implement.
pub(crate) trait StageCode: crate::ship::Ship + Send + Sync + 'static {
    fn run(&self, partition: u32, task: &TaskContext) -> Result<Output>;
}

impl<S: StageCode> Stage for S {
    fn run(&self, partition: u32, task: &TaskContext) -> Result<Output> {
        StageCode::run(self, partition, task)
    }

    fn ship(&self) -> Result<Parcel> {
        pack(self)
    }
}

impl<S: StageCode> Role for S {
    type Erased = Arc<dyn Stage>;

    fn erase(self) -> Arc<dyn Stage> {
        Arc::new(self)
    }
}

/// The output of one partition of a stage.
pub struct Output {
    /// The block or the result.
    pub made: Made,
    /// The number of rows.
    pub rows: u64,
    /// A checksum: almost certainly different if the content differs.
    pub checksum: u64,
    /// The estimated number of bytes, in memory or on the disk.
    pub bytes: u64,
    /// The bytes for each partition of the reading stage.
    pub bucket_bytes: Vec<u64>,
}

/// A block for later stages, or a result for the driver.
pub enum Made {
    /// A block, which readers get by [`Host::fetch`](crate::host::Host::fetch).
    Block(MadeBlock),
    /// A result, which goes to the driver.
    Result(Box<dyn ResultValue>),
}

/// A result of any type.
pub trait ResultValue: Any + Send {
    /// Encodes it for a driver in another process.
    ///
    /// # Errors
    /// If the value refuses to be encoded.
    fn encode(&self, out: &mut Vec<u8>) -> Result<()>;
}

impl<T: Serialize + Any + Send> ResultValue for T {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        codec::encode(self, out)
    }
}

/// The bytes of a result from another process. A separate type tells them apart from a result that is itself a vector
/// of bytes.
#[derive(Serialize)]
pub struct Encoded(pub Vec<u8>);

/// Opens a parcel that holds a stage.
///
/// # Errors
/// If its descriptor is not one of this program, or its data cannot be decoded.
pub fn receive(parcel: &Parcel, segments: &Segments) -> Result<Arc<dyn Stage>> {
    unpack::<Arc<dyn Stage>>(parcel, segments, false)
}
