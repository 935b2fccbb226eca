//! A stage: a pipe with what is done to its items, behind one pointer, and what a run of it leaves.

use crate::exchange::hash_of;
use crate::host::MadeBlock;
use crate::ship::{Parcel, Role, Segments, pack, unpack};
use crate::task::TaskContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::sync::Arc;
use tryworks_base::{Error, Result, codec};

/// A stage, its types erased: one `dyn` call per partition.
pub trait Stage: Send + Sync + 'static {
    /// Runs one logical partition.
    ///
    /// # Errors
    /// What the input or a user function met.
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

/// What one partition of a stage leaves.
pub struct Output {
    /// The block or the result.
    pub made: Made,
    /// How many rows it holds.
    pub rows: u64,
    /// A checksum: almost certainly different if the content differs.
    pub checksum: u64,
    /// How many bytes it holds, in memory or on the disk, as estimated.
    pub bytes: u64,
    /// The bytes for each partition of the stage that reads it.
    pub bucket_bytes: Vec<u64>,
}

/// A block for later stages, or a result for the driver.
pub enum Made {
    /// Stays in the process, to be read by [`Host::fetch`](crate::host::Host::fetch).
    Block(MadeBlock),
    /// Goes back to the driver.
    Result(Box<dyn ResultValue>),
}

/// A result of any type.
pub trait ResultValue: Any + Send {
    /// Its bytes, for a driver in another process.
    ///
    /// # Errors
    /// If the value refuses to be encoded.
    fn encode(&self, out: &mut Vec<u8>) -> Result<()>;
}

impl<T: Serialize + Any + Send> ResultValue for T {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&mark_of::<T>());
        codec::encode(self, out)
    }
}

/// Marks results by their type. A program may ask for a detached job that it, or another one, began with other types:
/// bytes of one number can be read as those of another.
fn mark_of<T>() -> [u8; 8] {
    hash_of(&std::any::type_name::<T>()).to_le_bytes()
}

/// The result that was encoded in another process.
///
/// # Errors
/// If it is one of another type, which is told as such; if its bytes cannot be decoded.
pub(crate) fn decode_result<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bytes.split_first_chunk() {
        Some((mark, bytes)) if *mark == mark_of::<T>() => Ok(codec::decode(bytes)?.0),
        _ => Err(Error::cluster(
            format!(
                "the job's results are of another type than `{}`, which this program asks for",
                std::any::type_name::<T>()
            ),
            "a detached job gives the results of the action that began it: ask for that one, or choose another name",
        )),
    }
}

/// A result that comes from another process as its bytes. It has a type of its own, so that bytes that are the result
/// themselves are not taken for it.
#[derive(Serialize)]
pub struct Encoded(pub Vec<u8>);

/// Opens a parcel that holds a stage.
///
/// # Errors
/// If the descriptor it names is not one of this program's, or its data does not decode.
pub fn receive(parcel: &Parcel, segments: &Segments) -> Result<Arc<dyn Stage>> {
    unpack::<Arc<dyn Stage>>(parcel, segments, false)
}
