//! The one way values become bytes and come back: bincode, always with a limit.
//!
//! What is claimed takes no memory before it is there, whatever the limit (`bounded`). The limit is one of bytes, so it
//! does not bound what takes none: a sequence of zero-sized items, such as a `Vec<()>`, that claims 2^60 of them is
//! counted to its end. Frames of our own have checksums; whoever decodes bytes of strangers must not ask for such types.

mod bounded;
mod fields;
mod strict;

use crate::error::{Error, Result};
use bincode::error::{DecodeError, EncodeError};
use bounded::Bounded;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strict::Strict;

/// The largest single value that is decoded: what claims more is refused before anything is allocated.
pub const DECODE_LIMIT: usize = 1 << 30;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT>()
}

/// Appends the bytes of `value` to `out`.
///
/// # Errors
/// If the type refuses to be encoded (an error of its own `Serialize`), if the value could not be decoded because a field
/// was left out or the length of a map is not known before, or if it is so large that it could not be decoded.
///
/// ```
/// let mut bytes = Vec::new();
/// tryworks_core::codec::encode(&("whale", 892u64), &mut bytes).unwrap();
/// let back: (String, u64) = tryworks_core::codec::decode(&bytes).unwrap().0;
/// assert_eq!(back, ("whale".to_string(), 892));
/// ```
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let written = bincode::serde::encode_into_std_write(Strict(value), out, config());
    match written.map_err(|error| not_encoded::<T>(&error))? {
        0..DECODE_LIMIT => Ok(()),
        bytes => {
            let many = format!("cannot be encoded: a value takes {bytes} bytes, and {DECODE_LIMIT} are too many");
            Err(not_carried::<T>(many, "make several values of it"))
        }
    }
}

/// Decodes one value from the front of `bytes` and tells how many bytes it took.
///
/// # Errors
/// If the bytes are no value of this type, or claim more than [`DECODE_LIMIT`].
#[allow(clippy::disallowed_methods)]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize)> {
    let decoded = bincode::serde::seed_decode_from_slice(Bounded::<T>::new(), bytes, config());
    decoded.map_err(|error| not_decoded::<T>(&error))
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
    match bincode::serde::encode_into_std_write(Strict(value), &mut count, config()) {
        Ok(_) => count.0,
        Err(_) => size_of_val(value),
    }
}

/// What comes back of `value` when it is encoded and decoded: the first row of every hand-over is looked at in this
/// way, so that a type the codec cannot carry is told on the first run, not at the first spill or on the first cluster.
///
/// # Errors
/// Names the type, and the field and the attribute of serde's where they are known.
pub fn prove_carried<T: Serialize + DeserializeOwned>(value: &T) -> Result<T> {
    carried(value, &mut Vec::new())
}

/// The same, with the bytes, which were none before.
fn carried<T: Serialize + DeserializeOwned>(value: &T, bytes: &mut Vec<u8>) -> Result<T> {
    encode(value, bytes)?;
    let (back, taken) = decode::<T>(bytes)?;
    if taken != bytes.len() {
        let left =
            format!("cannot be decoded: of {} bytes of a value {} are left over", bytes.len(), bytes.len() - taken);
        return Err(not_carried::<T>(left, UNLIKE));
    }
    Ok(back)
}

/// As [`prove_carried`], for contexts that check every row: it also looks whether the bytes are all of the value. A field
/// that serde is not shown (`#[serde(skip)]`) is found if it takes so much room that it cannot be padding; and if what
/// came back has other bytes, it is another value. Maps may come back in another order, so bytes are compared without one.
///
/// # Errors
/// As [`prove_carried`].
pub fn check_carried<T: Serialize + DeserializeOwned>(value: &T) -> Result<T> {
    let (mut bytes, mut again) = (Vec::new(), Vec::new());
    let back = carried(value, &mut bytes)?;
    if let Some(unseen) = fields::unseen(value) {
        return Err(not_carried::<T>(unseen, "remove `#[serde(skip)]`, or make the field again where it is needed"));
    }
    encode(&back, &mut again)?;
    let is_like = bytes == again || {
        bytes.sort_unstable();
        again.sort_unstable();
        bytes == again
    };
    if !is_like {
        return Err(not_carried::<T>("does not come back as it was from its own bytes".into(), UNLIKE));
    }
    Ok(back)
}

/// Looks at a row that is handed over: [`check_carried`] if every row is checked, and then it is what came back that is
/// handed over, so that a row loses what it loses with any amount of memory; else [`prove_carried`].
///
/// # Errors
/// As those.
pub fn prove_row<T: Serialize + DeserializeOwned>(row: &mut T, check: bool) -> Result<()> {
    match check {
        true => *row = check_carried(row)?,
        false => drop(prove_carried(row)?),
    }
    Ok(())
}

/// What helps where `Serialize` and `Deserialize` do not fit together.
const UNLIKE: &str = "let `Serialize` and `Deserialize` say the same: without serde's `skip_serializing`, \
                      `skip_deserializing`, `default` for a field that is left out, and with `serialize_with` and \
                      `deserialize_with` that fit";

#[cold]
fn not_encoded<T: ?Sized>(error: &EncodeError) -> Error {
    match error {
        EncodeError::OtherString(why) => not_carried::<T>(
            format!("cannot be encoded: {why}"),
            "values that cross a shuffle or return to the driver need a `Serialize` that tells every field each time",
        ),
        other => not_carried::<T>(format!("cannot be encoded: {other}"), "let its `Serialize` write what can be read"),
    }
}

#[cold]
fn not_decoded<T: ?Sized>(error: &DecodeError) -> Error {
    use bincode::serde::DecodeError as Refused;
    match error {
        DecodeError::Serde(
            Refused::AnyNotSupported | Refused::IgnoredAnyNotSupported | Refused::IdentifierNotSupported,
        ) => not_carried::<T>(
            "cannot be decoded: it asks the bytes what they are (`deserialize_any`), as types with serde's `tag`, \
                 `untagged` or `flatten` do, and those that describe themselves, such as `serde_json::Value`"
                .into(),
            "remove the attribute for values that cross a shuffle or return to the driver, or carry a text of it",
        ),
        DecodeError::OtherString(why) => not_carried::<T>(format!("cannot be decoded: {why}"), UNLIKE),
        other => not_carried::<T>(format!("cannot be decoded: {other}"), UNLIKE),
    }
}

fn not_carried<T: ?Sized>(message: String, advice: &str) -> Error {
    Error::Type { name: std::any::type_name::<T>().into(), message, advice: advice.into(), site: None }
}
