//! Feeds every decoder of messages with damaged messages and with random bytes, for about two seconds. To run longer:
//!
//!     TRYWORKS_FUZZ_SECONDS=600 cargo test -p tryworks-protocol fuzz

use super::{Hello, Opening, decode, driver, encode, engine, examples, opening, refusal, welcome, worker};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};
use tryworks_base::codec;

/// How many tries each decoder gets unless a time is given. They are always the same.
const TRIES: u64 = 30_000;

/// Numbers that look random and are always the same.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A good message with up to three faults, or sometimes none of it.
    fn spoilt(&mut self, good: &[u8]) -> Vec<u8> {
        if self.below(16) == 0 {
            return (0..self.below(200)).map(|_| self.next() as u8).collect();
        }
        let mut bytes = good.to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 250, 251, 252, 253, 254, 255][self.below(9)],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.next() as u8),
                4 if at < bytes.len() => drop(bytes.remove(at)),
                // A length, where a length may be.
                _ => {
                    let mut length = Vec::new();
                    let claimed = [1u64 << 60, u64::MAX, 1 << 32, 1 << 29][self.below(4)];
                    codec::encode(&claimed, &mut length).unwrap();
                    let end = (at + 1).min(bytes.len());
                    bytes.splice(at..end, length);
                }
            }
        }
        bytes
    }
}

/// Tests a decoder. It must both accept and refuse, or nothing was tested.
fn fuzz(name: &str, good: &[u8], takes: impl Fn(&[u8]) -> bool) {
    let seconds = std::env::var("TRYWORKS_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let begun = Instant::now();
    assert!(takes(good), "{name}: the good one was refused");
    let (mut tries, mut taken) = (0, 0);
    while match seconds {
        None => tries < TRIES,
        Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
    } {
        taken += u64::from(takes(&Dice(tries).spoilt(good)));
        tries += 1;
    }
    eprintln!("{name}: {tries} tries, {taken} taken");
    assert!(taken > 0 && taken < tries, "{name}: {taken} of {tries} taken");
}

fn batch<M: Serialize + DeserializeOwned>(name: &str, good: Vec<M>) {
    fuzz(name, &encode(&good).unwrap(), |bytes| decode::<M>(bytes).is_ok());
    // A claim of 2^60 messages is refused before memory is reserved for them.
    let mut claim = Vec::new();
    codec::encode(&(1u64 << 60), &mut claim).unwrap();
    assert!(decode::<M>(&claim).is_err());
    // Bytes after the end are not ignored.
    assert!(decode::<M>(&[encode(&good).unwrap(), vec![0]].concat()).is_err());
}

#[test]
fn fuzz_between_driver_and_hub() {
    batch("FromDriver", examples::from_driver());
    batch("ToDriver", examples::to_driver());
}

#[test]
fn fuzz_between_hub_and_engine() {
    batch("ToEngine", examples::to_engine());
    batch("FromEngine", examples::from_engine());
}

#[test]
fn fuzz_between_engine_and_worker() {
    batch("ToWorker", examples::to_worker());
    batch("FromWorker", examples::from_worker());
}

#[test]
fn fuzz_hellos_and_their_answers() {
    for purpose in examples::purposes() {
        let hello = examples::hello(purpose);
        fuzz("Hello", &hello.to_bytes().unwrap(), |bytes| Hello::from_bytes(bytes, "0").is_ok());
    }
    let of_driver = welcome(&examples::driver_welcome()).unwrap();
    fuzz("driver's Welcome", &of_driver, |bytes| opening::<driver::Welcome>(bytes).is_ok());
    let of_engine = welcome(&examples::engine_welcome()).unwrap();
    fuzz("engine's Welcome", &of_engine, |bytes| opening::<engine::Welcome>(bytes).is_ok());
    let of_worker = welcome(&examples::worker_welcome()).unwrap();
    fuzz("worker's Welcome", &of_worker, |bytes| opening::<worker::Welcome>(bytes).is_ok());
    fuzz("refusal", &refusal("no"), |bytes| matches!(opening::<engine::Welcome>(bytes), Ok(Opening::Refused(_))));
}
