//! A first message that claims more than it has, in a process with little memory. Such a message of 21 bytes once ended
//! the whole hub.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tryworks_protocol::engine::FromEngine;
use tryworks_protocol::worker::FromWorker;
use tryworks_protocol::{Hello, HostInfo, Opening, Purpose, decode, opening};

#[test]
fn a_hello_that_claims_a_gibibyte_is_refused_in_little_memory() {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let limit = Rlimit { current: Some(pages * 4096 + (256 << 20)), ..getrlimit(Resource::As) };
    setrlimit(Resource::As, limit).unwrap();

    let hello = Hello { version: "0".into(), host: HostInfo::default(), purpose: Purpose::Administer };
    let head = &hello.to_bytes().unwrap()[..8];
    // A version of 2^30 - 100 bytes, none of which arrive.
    let claim = [&[252][..], &((1u32 << 30) - 100).to_le_bytes()].concat();
    let short = [head, &claim].concat();
    assert_eq!(short.len(), 13);
    assert_eq!(Hello::from_bytes(&short, "0").unwrap_err(), "the hello cannot be read");
    assert!(Hello::from_bytes(&[head, &[1, b'0'], &claim].concat(), "0").is_err());
    // The same claim in batches, and in the answer to a hello.
    let of_engines = (0..40u8).filter(|variant| decode::<FromEngine>(&[&[1, *variant][..], &claim].concat()).is_err());
    let of_workers =
        (0..40u8).filter(|variant| decode::<FromWorker>(&[&[1, *variant, 0][..], &claim].concat()).is_err());
    assert_eq!((of_engines.count(), of_workers.count()), (40, 40));
    assert!(opening::<String>(&[b"TWOK", &claim[..]].concat()).is_err());
    assert!(matches!(opening::<String>(b"TWNOno"), Ok(Opening::Refused(why)) if why == "no"));
}
