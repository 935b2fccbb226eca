//! What bytes claim takes no memory before it is there. This process may take little more memory than it has, so
//! allocating for a claim would end it. That is why this test is a program of its own.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::path::PathBuf;
use tryworks_base::codec::{DECODE_LIMIT, decode, encode};

/// What the process may take beyond what it has now.
const SPARE: u64 = 256 << 20;

fn tighten() {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let limit = Rlimit { current: Some(pages * 4096 + SPARE), ..getrlimit(Resource::As) };
    setrlimit(Resource::As, limit).unwrap();
}

/// The length that is claimed, and a little of what it claims.
fn claim(len: usize, before: &[u8]) -> Vec<u8> {
    let mut bytes = before.to_vec();
    encode(&len, &mut bytes).unwrap();
    bytes.extend([1; 16]);
    bytes
}

fn refused<T: DeserializeOwned + Debug>(before: &[u8]) {
    for len in [1 << 20, 1 << 29, DECODE_LIMIT - 100, DECODE_LIMIT, 1 << 40, usize::MAX] {
        let error = decode::<T>(&claim(len, before)).expect_err("it was decoded").to_string();
        assert!(error.contains("decoded"), "{error}");
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Named { name: String, rest: Option<Box<str>> },
    Pair(u8, String),
}

#[test]
fn a_claimed_length_takes_no_memory_before_its_bytes_arrive() {
    tighten();
    refused::<String>(&[]);
    refused::<Box<str>>(&[]);
    refused::<std::borrow::Cow<'static, str>>(&[]);
    refused::<std::ffi::CString>(&[]);
    refused::<PathBuf>(&[]);
    refused::<serde_bytes::ByteBuf>(&[]);
    refused::<Vec<u8>>(&[]);
    refused::<Vec<u64>>(&[]);
    refused::<VecDeque<[u64; 32]>>(&[]);
    refused::<HashMap<String, u64>>(&[]);
    refused::<BTreeMap<u16, String>>(&[]);
    // Inside something else: an option, a list, a variant of each kind, the value of a map.
    refused::<Option<String>>(&[1]);
    refused::<Vec<(u8, String)>>(&[1, 7]);
    refused::<Message>(&[0]);
    refused::<Message>(&[1]);
    refused::<Message>(&[1, 0, 1]);
    refused::<Message>(&[2, 9]);
    refused::<HashMap<u8, Vec<Message>>>(&[1, 5, 1, 0]);
    // What is there comes back.
    let good = vec![
        Message::Bytes((0..=255).collect()),
        Message::Named { name: "é".repeat(300), rest: Some("x".into()) },
        Message::Pair(3, String::new()),
    ];
    let mut bytes = Vec::new();
    encode(&good, &mut bytes).unwrap();
    assert_eq!(decode::<Vec<Message>>(&bytes).unwrap(), (good, bytes.len()));
    assert!(decode::<String>(&[2, 0xff, 0xff]).is_err());
}
