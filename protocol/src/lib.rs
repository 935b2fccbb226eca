//! The messages between hub, engines, workers and drivers: one closed enum for each direction.
//!
//! A message is a batch: everything that one process has to tell another at that moment. The first message of a
//! connection is a [`Hello`], which every version can read. The answer is a welcome, or a refusal in words. Names of
//! exchanges and caches are global in these messages ([`SessionId::global`](tryworks_base::ids::SessionId::global)).

pub mod admin;
pub mod ask;
pub mod blocks;
pub mod driver;
pub mod engine;
pub mod environment;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod fuzz;
mod hello;
pub mod host;
pub mod output;
#[cfg(test)]
mod pinned;
pub mod program;
pub mod worker;

pub use hello::{Hello, Opening, Purpose, opening, refusal, welcome};
pub use host::HostInfo;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::ids::{JobId, OutputId};
use tryworks_base::{Error, MAX_MESSAGE, Result, codec};

/// The version of the protocol, which both ends must share. A change to the bytes of any message raises it by hand and
/// adds a line below that says why. `golden.txt` beside this crate's sources has the bytes.
///
/// | number | what is new |
/// |---|---|
/// | 2 | a hello no longer has a hash of source texts |
/// | 3 | a worker's welcome names the machine of its driver; a job says what action it is and which token its place has; a driver looks for the detached job that a save may be |
/// | 4 | places of blocks, and failures to read them, say that a block is on no engine, which engine 0 stood for |
/// | 5 | an error of the input names the call that reads it |
pub const PROTOCOL: u32 = 5;

/// The output id under which block stores keep the results of a job.
pub fn results_of(job: JobId) -> OutputId {
    OutputId(job.0 | 1 << 63)
}

/// Encodes a batch as one message.
///
/// # Errors
/// If something in the batch refuses to be encoded.
pub fn encode<M: Serialize>(batch: &[M]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    codec::encode(batch, &mut bytes)?;
    Ok(bytes)
}

/// The most bytes of messages that are sent together. A larger batch is split.
const TOGETHER: usize = 16 << 20;

/// Encodes a batch, in as many messages as necessary. An item that is too large even for its own message goes to
/// `refused`, which must make sure that no process waits for that item.
pub fn messages<M: Serialize>(batch: &[M], refused: &mut dyn FnMut(&M, Error)) -> Vec<Bytes> {
    let mut out = Vec::new();
    // The batch is halved; the first half is on top.
    let mut left = vec![batch];
    while let Some(some) = left.pop() {
        let bytes = encode(some);
        match (bytes, some) {
            (_, []) => {}
            (Ok(bytes), [_]) if bytes.len() <= MAX_MESSAGE => out.push(bytes.into()),
            (Ok(bytes), [one]) => refused(one, too_large(bytes.len())),
            (Err(error), [one]) => refused(one, error),
            (Ok(bytes), _) if bytes.len() <= TOGETHER => out.push(bytes.into()),
            (_, several) => {
                let (first, rest) = several.split_at(several.len() / 2);
                left.extend([rest, first]);
            }
        }
    }
    out
}

fn too_large(bytes: usize) -> Error {
    let advice = "send less at a time: fewer or smaller partitions, results or captured values";
    Error::limit("a message", MAX_MESSAGE as u64, format!("{bytes} bytes"), advice)
}

/// Decodes a batch from another process.
///
/// # Errors
/// If the bytes are not exactly one such batch. A peer that sends such bytes must not be trusted any longer.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<M>> {
    let (batch, taken) = codec::decode::<Vec<M>>(bytes)?;
    if taken != bytes.len() {
        return Err(Error::cluster("a message has bytes after its end", "it was damaged, or made by another version"));
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_bytes::ByteBuf;

    #[test]
    fn large_batches_are_split_into_several_messages_in_order() {
        let large: Vec<_> = (0..9u8).map(|n| ByteBuf::from(vec![n; 5 << 20])).collect();
        let mut refused = 0;
        let messages = messages(&large, &mut |_, _| refused += 1);
        assert!(messages.len() > 2 && messages.iter().all(|bytes| bytes.len() <= TOGETHER));
        let back: Vec<ByteBuf> = messages.iter().flat_map(|bytes| decode::<ByteBuf>(bytes).unwrap()).collect();
        assert!(back == large && refused == 0);
    }

    #[test]
    fn an_item_too_large_for_a_message_is_reported_and_the_others_are_sent() {
        let batch = [ByteBuf::from(vec![1]), ByteBuf::from(vec![2; MAX_MESSAGE + 1]), ByteBuf::from(vec![3])];
        let mut refused = Vec::new();
        let messages = messages(&batch, &mut |what, error| refused.push((what[0], error)));
        let back: Vec<ByteBuf> = messages.iter().flat_map(|bytes| decode::<ByteBuf>(bytes).unwrap()).collect();
        assert_eq!(back.iter().map(|bytes| bytes[0]).collect::<Vec<_>>(), [1, 3]);
        assert!(matches!(&refused[..], [(2, Error::Limit { .. })]), "{refused:?}");
    }
}
