//! The first message of a connection and its answer, readable by every version.
//!
//! ```text
//! hello    "TWK1" protocol:u32, then the Hello if the version is the same
//! welcome  "TWOK" then the welcome for this kind of peer
//! refusal  "TWNO" then text for people
//! ```

use super::PROTOCOL;
use super::host::HostInfo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tryworks_base::ids::SessionId;
use tryworks_base::{Error, Result, codec};

const HELLO: &[u8] = b"TWK1";
const WELCOME: &[u8] = b"TWOK";
const REFUSAL: &[u8] = b"TWNO";

/// The first message: who is connecting, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of Tryworks that it was built with, for people.
    pub version: String,
    /// The machine and the process.
    pub host: HostInfo,
    /// Why it connects.
    pub purpose: Purpose,
}

/// What a process wants of the hub, or a worker of its engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Purpose {
    /// To run jobs.
    Drive {
        /// The session that it had before the connection was lost, with its secret.
        again: Option<(SessionId, [u8; 16])>,
        /// The program that workers are to run.
        program: super::program::Program,
    },
    /// To ask questions and give commands: the command line.
    Administer,
    /// To run tasks.
    Serve(Box<super::engine::Offer>),
    /// To run the tasks of one session for this engine: a worker.
    Work {
        /// The number that its engine gave it.
        worker: u64,
        /// The hash of its executable.
        program: [u8; 32],
    },
    /// To fetch small blocks: another engine on the same machine.
    Fetch,
}

/// The answer to a hello.
#[derive(Debug)]
pub enum Opening<W> {
    /// The peer is admitted.
    Welcome(W),
    /// The peer is refused, with the reason.
    Refused(String),
}

impl Hello {
    /// Encodes the first message.
    ///
    /// # Errors
    /// If something in it refuses to be encoded.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = [HELLO, &PROTOCOL.to_le_bytes()].concat();
        codec::encode(self, &mut bytes)?;
        Ok(bytes)
    }

    /// Decodes a first message.
    ///
    /// # Errors
    /// A text for the other end that says what does not match.
    pub fn from_bytes(bytes: &[u8], own_version: &str) -> Result<Hello, String> {
        let parts = bytes.split_at_checked(HELLO.len()).filter(|(magic, _)| *magic == HELLO);
        let Some((protocol, rest)) = parts.and_then(|(_, rest)| rest.split_first_chunk::<4>()) else {
            return Err("this is not a hello of Tryworks".into());
        };
        let protocol = u32::from_le_bytes(*protocol);
        if protocol != PROTOCOL {
            return Err(format!(
                "the two ends speak different versions of the protocol: {PROTOCOL} here (Tryworks {own_version}), \
                 {protocol} there\nbuild both from the same version, and start the cluster again if it is the older one"
            ));
        }
        match codec::decode::<Hello>(rest) {
            Ok((hello, taken)) if taken == rest.len() => Ok(hello),
            _ => Err("the hello cannot be read".into()),
        }
    }
}

/// Encodes a welcome.
///
/// # Errors
/// If it refuses to be encoded.
pub fn welcome<W: Serialize>(welcome: &W) -> Result<Vec<u8>> {
    let mut bytes = WELCOME.to_vec();
    codec::encode(welcome, &mut bytes)?;
    Ok(bytes)
}

/// Encodes a refusal.
pub fn refusal(text: &str) -> Vec<u8> {
    [REFUSAL, text.as_bytes()].concat()
}

/// Decodes the answer to a hello.
///
/// # Errors
/// If it is neither a welcome nor a refusal.
pub fn opening<W: DeserializeOwned>(bytes: &[u8]) -> Result<Opening<W>> {
    if let Some(text) = bytes.strip_prefix(REFUSAL) {
        return Ok(Opening::Refused(String::from_utf8_lossy(text).into_owned()));
    }
    match bytes.strip_prefix(WELCOME) {
        Some(rest) => Ok(Opening::Welcome(codec::decode(rest)?.0)),
        None => Err(Error::cluster("the answer to the hello cannot be read", "is it a Tryworks hub of this version?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello { version: "0".into(), host: HostInfo::default(), purpose: Purpose::Administer }
    }

    #[test]
    fn a_hello_comes_back() {
        assert_eq!(Hello::from_bytes(&hello().to_bytes().unwrap(), "0").unwrap(), hello());
    }

    #[test]
    fn another_version_is_an_error_with_both_versions() {
        let mut bytes = hello().to_bytes().unwrap();
        bytes[4] = 99;
        bytes.truncate(10);
        let text = Hello::from_bytes(&bytes, "0.1").unwrap_err();
        assert!(text.contains("different versions") && text.contains("99 there"), "{text}");
        assert!(Hello::from_bytes(b"GET / HTTP/1.1", "0").unwrap_err().contains("not a hello"));
        assert!(Hello::from_bytes(b"TWK1\x02\0", "0").unwrap_err().contains("not a hello"));
        let only_head = [b"TWK1", &PROTOCOL.to_le_bytes()[..]].concat();
        assert!(Hello::from_bytes(&only_head, "0").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn answers_come_back() {
        assert!(matches!(opening::<u32>(&welcome(&7u32).unwrap()).unwrap(), Opening::Welcome(7)));
        assert!(matches!(opening::<u32>(&refusal("no")).unwrap(), Opening::Refused(text) if text == "no"));
        assert!(opening::<u32>(b"what").is_err());
    }
}
