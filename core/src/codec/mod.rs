//! The one way values become bytes and come back: bincode, always with a limit.
//!
//! What is claimed takes no memory before it is there, whatever the limit ([`bounded`]). The limit is one of bytes, so it
//! does not bound what takes none: a sequence of zero-sized items, such as a `Vec<()>`, that claims 2^60 of them is
//! counted to its end. Frames of our own have checksums; whoever decodes bytes
//! of strangers must not ask for such types.

mod bounded;

use crate::error::{Error, Result, Site};
use bounded::Bounded;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest single value that is decoded: what claims more is refused before anything is allocated.
pub const DECODE_LIMIT: usize = 1 << 30;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT>()
}

/// Appends the bytes of `value` to `out`.
///
/// # Errors
/// If the type refuses to be encoded (an error of its own `Serialize`), or the value is so large that it could not be decoded.
///
/// ```
/// let mut bytes = Vec::new();
/// tryworks_core::codec::encode(&("whale", 892u64), &mut bytes).unwrap();
/// let back: (String, u64) = tryworks_core::codec::decode(&bytes).unwrap().0;
/// assert_eq!(back, ("whale".to_string(), 892));
/// ```
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let written = bincode::serde::encode_into_std_write(value, out, config());
    match written.map_err(|error| cannot_carry::<T>("encoded", &error))? {
        0..DECODE_LIMIT => Ok(()),
        bytes => {
            Err(cannot_carry::<T>("encoded", &format!("a value takes {bytes} bytes, and {DECODE_LIMIT} are too many")))
        }
    }
}

/// Decodes one value from the front of `bytes` and tells how many bytes it took.
///
/// # Errors
/// If the bytes are no value of this type, or claim more than [`DECODE_LIMIT`].
#[allow(clippy::disallowed_methods)]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize)> {
    bincode::serde::seed_decode_from_slice(Bounded::<T>::new(), bytes, config())
        .map_err(|error| cannot_carry::<T>("decoded", &error))
}

/// The number of bytes that `value` would take, without writing them.
pub fn encoded_len<T: Serialize + ?Sized>(value: &T) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match bincode::serde::encode_into_std_write(value, &mut count, config()) {
        Ok(_) => count.0,
        Err(_) => size_of_val(value),
    }
}

/// Encodes and decodes `value` once, so that a type the codec cannot carry is told on the first run, not at the
/// first spill or on the first cluster.
///
/// # Errors
/// Names the type, and the serde attributes that are the usual reason.
pub fn prove_carried<T: Serialize + DeserializeOwned>(value: &T) -> Result<()> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes)?;
    let (_, taken) = decode::<T>(&bytes)?;
    if taken != bytes.len() {
        return Err(cannot_carry::<T>("read back whole", &"bytes were left over"));
    }
    Ok(())
}

fn cannot_carry<T: ?Sized>(verb: &str, why: &dyn std::fmt::Display) -> Error {
    Error::Plan {
        message: format!(
            "a value of type `{}` cannot be {verb}: {why}\n  values that cross a shuffle or return to the driver are \
             carried by bincode, which cannot carry serde's `skip_serializing_if`, `untagged`, `flatten` and types \
             that describe themselves, such as `serde_json::Value`",
            std::any::type_name::<T>()
        ),
        site: Site::caller(),
    }
}
