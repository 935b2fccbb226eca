//! What hub, engines, workers and drivers say to one another: one closed enum for each direction.
//!
//! A message is a batch: everything that one process has to say to another at a time. The first message of a
//! connection is a [`Hello`], in a form that stays readable whatever version is at the other end; the answer is a
//! welcome, or a refusal in words. Names of exchanges and caches are global in these messages
//! ([`SessionId::global`](tryworks_core::ids::SessionId::global)).

pub mod admin;
pub(crate) mod blocks;
pub mod driver;
pub mod engine;
#[cfg(test)]
mod fuzz;
mod hello;
pub mod worker;

pub use hello::{Hello, HostInfo, Opening, Purpose, opening, refusal, welcome};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_core::{Error, Result, codec};

/// The version of the protocol, which both ends have to share.
pub const PROTOCOL: u32 = 1;

/// A hash of everything that says what messages look like: two builds with the same one understand each other.
pub fn schema() -> u64 {
    const SOURCES: [&str; 10] = [
        include_str!("admin.rs"),
        include_str!("blocks.rs"),
        include_str!("driver.rs"),
        include_str!("engine.rs"),
        include_str!("hello.rs"),
        include_str!("worker.rs"),
        include_str!("../scheduler/event.rs"),
        include_str!("../scheduler/spec.rs"),
        include_str!("../scheduler/why.rs"),
        include_str!("../scheduler/partitions.rs"),
    ];
    static HASH: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *HASH.get_or_init(|| {
        let mut hasher = blake3::Hasher::new();
        for source in SOURCES {
            hasher.update(source.as_bytes());
        }
        hasher.finalize().as_bytes()[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    })
}

/// The bytes of a batch.
///
/// # Errors
/// If something in it refuses to be encoded.
pub fn encode<M: Serialize>(batch: &[M]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    codec::encode(batch, &mut bytes)?;
    Ok(bytes)
}

/// The batch in bytes from another process.
///
/// # Errors
/// If they are no such batch, whole: a peer that sends such is not to be believed any more.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<M>> {
    let (batch, taken) = codec::decode::<Vec<M>>(bytes)?;
    if taken != bytes.len() {
        return Err(Error::cluster("a message has bytes behind its end", "it was damaged, or made by another version"));
    }
    Ok(batch)
}
