//! Runs every decoder of this crate on random bytes, and on valid ones that were damaged. This takes a few seconds in
//! all; for longer:
//!
//!     TRYWORKS_FUZZ_SECONDS=600 cargo test -p tryworks-transport fuzz

use crate::data::protocol::{Piece, Reply, Request};
use crate::{Connection, FrameError, FrameReader, Role, role_of};
use bytes::Bytes;
use futures_util::FutureExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, ReadBuf};

/// How many tries each decoder gets by default, the same ones in every run.
const TRIES: u64 = 20_000;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }

    /// One of the valid inputs with a few faults, sometimes with none; or random bytes.
    fn spoilt(&mut self, good: &[Vec<u8>]) -> Vec<u8> {
        if good.is_empty() || self.below(10) == 0 {
            return self.bytes(200);
        }
        let mut bytes = good[self.below(good.len())].clone();
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][self.below(6)],
                2 => bytes.truncate(at),
                3 => {
                    let more = self.bytes(9);
                    bytes.splice(at..at, more);
                }
                4 => {
                    let end = at + self.below(bytes.len() - at + 1);
                    bytes.drain(at..end);
                }
                5 => {
                    let other = &good[self.below(good.len())];
                    let from = self.below(other.len());
                    bytes.truncate(at);
                    bytes.extend(&other[from..]);
                }
                // A length where there may be one.
                _ => {
                    let len =
                        [u64::MAX, 1 << 60, 1 << 32, u64::from(u32::MAX), 1 << 20, 0][self.below(6)].to_le_bytes();
                    let width = [4, 8][self.below(2)];
                    for (byte, new) in bytes.iter_mut().skip(at).zip(&len[..width]) {
                        *byte = *new;
                    }
                }
            }
        }
        bytes
    }
}

/// Tries a decoder that returns whether it took the bytes. Both answers have to occur, or the test shows nothing.
fn fuzz(name: &str, good: &[Vec<u8>], decode: impl Fn(&[u8]) -> bool) {
    let seconds = std::env::var("TRYWORKS_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let begun = Instant::now();
    let (mut taken, mut refused) = (0u64, 0u64);
    for one in good {
        assert!(decode(one), "{name}: a good one was refused");
    }
    while match seconds {
        None => taken + refused < TRIES,
        Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
    } {
        let bytes = Dice(taken + refused).spoilt(good);
        match catch_unwind(AssertUnwindSafe(|| decode(&bytes))) {
            Ok(true) => taken += 1,
            Ok(false) => refused += 1,
            Err(panic) => {
                eprintln!("{name}, try {}: {bytes:02x?}", taken + refused);
                resume_unwind(panic);
            }
        }
    }
    eprintln!("{name}: {taken} taken, {refused} refused");
    assert!(taken > 100 && refused > 100, "{name}: {taken} taken, {refused} refused");
}

/// Returns bytes in portions of any size.
struct Portions {
    bytes: Bytes,
    dice: Dice,
}

impl AsyncRead for Portions {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let most = self.bytes.len().min(into.remaining());
        let portion = if most == 0 { 0 } else { 1 + self.dice.below(most) };
        let portion = self.bytes.split_to(portion);
        into.put_slice(&portion);
        Poll::Ready(Ok(()))
    }
}

/// The frames in some bytes, found with slices alone.
fn frames(mut bytes: &[u8], limit: usize) -> (Vec<Bytes>, Option<FrameError>) {
    let mut frames = Vec::new();
    loop {
        let Some((head, rest)) = bytes.split_first_chunk::<4>() else {
            let cut = FrameError::Cut { missing: 4 - bytes.len() };
            return (frames, if bytes.is_empty() { None } else { Some(cut) });
        };
        let len = u32::from_le_bytes(*head) as usize;
        if len > limit {
            return (frames, Some(FrameError::TooLong { len: len as u64, limit }));
        }
        if rest.len() < len {
            return (frames, Some(FrameError::Cut { missing: len - rest.len() }));
        }
        frames.push(Bytes::copy_from_slice(&rest[..len]));
        bytes = &rest[len..];
    }
}

#[test]
fn fuzz_frames() {
    let frame = |len: u32| [&len.to_le_bytes()[..], &vec![7; len as usize]].concat();
    let good = [frame(0), frame(3), [frame(5), frame(0), frame(40)].concat(), frame(300), frame(70_000)];
    fuzz("frames", &good, |bytes| {
        let seed = bytes.iter().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(*byte));
        let limit = if seed % 3 == 0 { 1 << 30 } else { 70_000 };
        let mut reader = FrameReader::new(Portions { bytes: Bytes::copy_from_slice(bytes), dice: Dice(seed) });
        let mut got = Vec::new();
        let end = loop {
            match reader.next(limit).now_or_never().expect("it waits for nothing") {
                Ok(Some(frame)) => got.push(frame),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
            assert!(
                reader.capacity() <= 2 * bytes.len() + (128 << 10),
                "{} for {} bytes",
                reader.capacity(),
                bytes.len()
            );
        };
        assert!(reader.capacity() <= 2 * bytes.len() + (128 << 10), "{} for {} bytes", reader.capacity(), bytes.len());
        assert_eq!((got, end.clone()), frames(bytes, limit));
        end.is_none()
    });
}

#[test]
fn fuzz_the_headers_of_the_data_port() {
    let request = |put, text: &[u8]| [&Request::head(put)[..], text].concat();
    let good =
        [request(None, b""), request(None, b"block 17"), request(Some(0), b"x"), request(Some(1 << 40), b"program")];
    fuzz("requests", &good, |bytes| match Request::parse(Bytes::copy_from_slice(bytes)) {
        None => false,
        Some(Request::Get(text)) => request(None, &text) == bytes || panic!("not {text:?}"),
        Some(Request::Put(len, text)) => request(Some(len), &text) == bytes || panic!("not {len}, {text:?}"),
    });
    let good =
        [Reply::Accepted(0), Reply::Accepted(1 << 60), Reply::Refused("no block".into()), Reply::Refused("é".into())];
    fuzz("replies", &good.map(|reply| reply.to_bytes()), |bytes| {
        let reply = Reply::parse(Bytes::copy_from_slice(bytes));
        assert!(reply.as_ref().is_none_or(|reply| reply.to_bytes() == bytes), "{reply:?}");
        reply.is_some()
    });
    let good = [Piece::END.to_vec(), [Piece::DATA, b"bytes"].concat(), Piece::failed("é"), Piece::failed("no disk")];
    fuzz("pieces", &good, |bytes| match Piece::parse(Bytes::copy_from_slice(bytes)) {
        None => false,
        Some(Piece::End) => bytes == Piece::END || panic!("no end"),
        Some(Piece::Data(data)) => [Piece::DATA, &data].concat() == bytes || panic!("not {data:?}"),
        Some(Piece::Failed(why)) => Piece::failed(&why) == bytes || panic!("not {why:?}"),
    });
}

#[test]
fn fuzz_connection_files() {
    const SECRET: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    let good = Role::ALL.map(|role| {
        let mut connection = Connection::new(role, "an authority", "a certificate", SECRET);
        connection.cluster = "pequod".into();
        connection.gateway = "127.0.0.1:4711".into();
        serde_json::to_vec_pretty(&connection).unwrap()
    });
    fuzz("connection files", &good, |bytes| match Connection::parse(bytes) {
        Ok(connection) => {
            let again = serde_json::to_vec(&connection).unwrap();
            assert_eq!(Connection::parse(&again).unwrap(), connection);
            true
        }
        Err(message) => {
            assert!(!message.contains(&SECRET[..8]), "{message}");
            false
        }
    });
}

#[test]
fn fuzz_the_roles_of_certificates() {
    let certificate = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().der().to_vec()
    };
    let good = Role::ALL.map(|role| certificate(&["cluster.example", role.dns_name()]));
    for (role, der) in Role::ALL.iter().zip(&good) {
        assert_eq!(role_of(der), Some(*role));
    }
    for names in [
        &[][..],
        &["tryworks"],
        &["driver.tryworks.example"],
        &["x.driver.tryworks"],
        &["*.tryworks"],
        &["driver.tryworks", "engine.tryworks"],
        &["driver.tryworks", "driver.tryworks"],
    ] {
        assert_eq!(role_of(&certificate(names)), None, "{names:?}");
    }
    fuzz("certificates", &good, |bytes| match role_of(bytes) {
        None => false,
        Some(role) => {
            let name = role.dns_name().as_bytes();
            assert!(bytes.windows(name.len()).any(|window| window == name), "{role} is not in it");
            true
        }
    });
}
