//! The one way values become bytes and come back: the format of bincode 2 (`write`), always with a limit.
//!
//! Bytes that are only claimed take no memory, whatever the limit (`read`). The limit counts bytes, so it does not
//! bound items that take none: a `Vec<()>` that claims 2^60 items is counted to its end. Tryworks's own frames have
//! checksums. Code that decodes bytes of strangers must not ask for zero-sized items.

mod fault;
mod fields;
mod read;
mod shape;
#[cfg(test)]
mod tests;
mod watch;
mod write;

pub use shape::shape_of;

use crate::{Error, Result};
use fault::{Fault, Kind};
use fields::{Look, Shown};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::type_name;
use watch::Seen;
use write::Writer;

/// The largest single value that is decoded. A value that claims more is refused before anything is allocated.
pub const DECODE_LIMIT: usize = 1 << 30;

/// Appends the bytes of `value` to `out`.
///
/// # Errors
/// If the `Serialize` of the type returns an error, or if the value is too large to be decoded again. Also if the value
/// could not be decoded because a field was left out or the length of a map was not known before.
///
/// ```
/// let mut bytes = Vec::new();
/// tryworks_base::codec::encode(&("whale", 892u64), &mut bytes).unwrap();
/// let back: (String, u64) = tryworks_base::codec::decode(&bytes).unwrap().0;
/// assert_eq!(back, ("whale".to_string(), 892));
/// ```
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    let written = value.serialize(&mut Writer::to(out));
    if written.is_ok() && out.len() - before < DECODE_LIMIT {
        return Ok(());
    }
    Err(not_encoded(type_name::<T>(), written.err(), out.len() - before))
}

/// As [`encode`]; it also returns the structs and variants that the value consists of.
fn encode_shown<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<Shown> {
    let (mut look, before) = (Look::default(), out.len());
    let written = value.serialize(&mut Writer::looking(out, &mut look));
    if written.is_ok() && out.len() - before < DECODE_LIMIT {
        return Ok(look.shown());
    }
    Err(not_encoded(type_name::<T>(), written.err(), out.len() - before))
}

/// Decodes one value from the front of `bytes`, and returns it with the number of bytes that it took.
///
/// # Errors
/// If the bytes are no value of this type, or claim more than [`DECODE_LIMIT`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize)> {
    read::read(bytes, None).map_err(|fault| not_decoded::<T>(&fault, bytes))
}

/// Decodes the value that takes all of `bytes`.
///
/// # Errors
/// As [`decode`]; also if there are more bytes than the type reads.
pub fn decode_whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (value, taken) = decode::<T>(bytes)?;
    if taken == bytes.len() {
        Ok(value)
    } else {
        Err(not_carried(type_name::<T>(), left_over(bytes.len(), taken), UNLIKE))
    }
}

/// Decodes a value and watches: returns what was seen, and the value.
fn seen_of<T: DeserializeOwned>(bytes: &[u8]) -> (Seen, Result<(T, usize), Fault>) {
    let mut seen = Seen::default();
    let read = read::read(bytes, Some(&mut seen));
    (seen, read)
}

/// The number of bytes that `value` would take, without writing them.
pub fn encoded_len<T: Serialize + ?Sized>(value: &T) -> usize {
    measured(value, usize::MAX).unwrap_or(size_of_val(value))
}

/// Whether a value takes at most `most` bytes, or cannot be written.
fn is_within<T: Serialize + ?Sized>(value: &T, most: usize) -> bool {
    !measured(value, most).is_err_and(|fault| matches!(fault.kind(), Kind::Counted))
}

/// Counts the bytes of a value up to `most`.
fn measured<T: Serialize + ?Sized>(value: &T, most: usize) -> Result<usize, Fault> {
    let mut buffer = Vec::with_capacity(COUNTED_TOGETHER);
    let mut writer = Writer::counting(&mut buffer, most);
    value.serialize(&mut writer)?;
    writer.counted()
}

/// The size of the buffer for bytes that are not counted yet.
const COUNTED_TOGETHER: usize = 256;

/// Encodes and decodes `value`, and checks that it comes back. The first row of every hand-over is checked in this way.
/// So a type that the codec cannot carry is reported on the first run, not at the first spill or on the first cluster.
///
/// # Errors
/// Names the type, and the field and the attribute of serde's where they are known.
pub fn prove_carried<T: Serialize + DeserializeOwned>(value: &T) -> Result<T> {
    let mut bytes = Vec::new();
    let shown = encode_shown(value, &mut bytes)?;
    let back = decode_whole(&bytes).map_err(|error| explained::<T>(&shown, &bytes, error))?;
    if shown.has_variants() {
        bytes.clear();
        lost_variants(type_name::<T>(), &shown, &encode_shown(&back, &mut bytes)?)?;
    }
    Ok(back)
}

/// Fails if a variant came back as another one.
fn lost_variants(name: &str, shown: &Shown, back: &Shown) -> Result<()> {
    shown.changed(back).map_or(Ok(()), |changed| Err(not_carried(name, changed, WITHOUT_VARIANTS)))
}

/// Why a value did not come back from its bytes. What the value shows, and what its decoder asks for, may say more than
/// the bytes.
#[cold]
#[inline(never)]
fn explained<T: DeserializeOwned>(shown: &Shown, bytes: &[u8], error: Error) -> Error {
    explained_by(type_name::<T>(), shown, &seen_of::<T>(bytes).0, error)
}

fn explained_by(name: &str, shown: &Shown, seen: &Seen, error: Error) -> Error {
    match shown.unlike(seen) {
        Some(unlike) => not_carried(name, format!("cannot be decoded: {unlike}"), UNLIKE),
        None => error,
    }
}

fn left_over(bytes: usize, taken: usize) -> String {
    format!("cannot be decoded: of {bytes} bytes of a value {} are left over", bytes - taken)
}

/// As [`prove_carried`], for contexts that check every row: it also checks that the bytes are all of the value. A field
/// that serde is not shown (`#[serde(skip)]`) is found if it is too large to be padding, in whatever container the
/// struct lies. In a variant it is found only between two other fields. A value that came back with other bytes is
/// another value. Maps may come back in another order, so bytes are compared without regard to it.
///
/// # Errors
/// As [`prove_carried`].
pub fn check_carried<T: Serialize + DeserializeOwned>(value: &T) -> Result<T> {
    let (mut bytes, mut again) = (Vec::new(), Vec::new());
    let shown = encode_shown(value, &mut bytes)?;
    let (seen, decoded) = seen_of::<T>(&bytes);
    let back = match decoded {
        Ok((back, taken)) if taken == bytes.len() => back,
        _ => return prove_carried(value),
    };
    all_is_seen(type_name::<T>(), &shown, &seen)?;
    let came_back = encode_shown(&back, &mut again)?;
    if is_like(bytes, again) { Ok(back) } else { Err(changed(type_name::<T>(), &shown, &came_back, &seen)) }
}

/// Fails if serde was not shown all parts of a value.
fn all_is_seen(name: &str, shown: &Shown, seen: &Seen) -> Result<()> {
    let advice = "remove `#[serde(skip)]`, or make the field again where it is needed";
    shown.unseen(seen).map_or(Ok(()), |unseen| Err(not_carried(name, unseen, advice)))
}

/// Whether these are the bytes of the same value. Maps may come back in another order.
fn is_like(mut bytes: Vec<u8>, mut again: Vec<u8>) -> bool {
    bytes == again || {
        bytes.sort_unstable();
        again.sort_unstable();
        bytes == again
    }
}

/// The error for a value that came back as another one.
#[cold]
fn changed(name: &str, shown: &Shown, back: &Shown, seen: &Seen) -> Error {
    let (message, advice) = match (shown.changed(back), shown.unlike(seen)) {
        (Some(changed), _) => (changed, WITHOUT_VARIANTS),
        (None, Some(unlike)) => (format!("does not come back as it was: {unlike}"), UNLIKE),
        (None, None) => ("does not come back as it was from its own bytes".into(), UNLIKE),
    };
    not_carried(name, message, advice)
}

/// Checks a row that is handed over. Where every row is checked, [`check_carried`] does it, and the copy that came back
/// replaces the row: a row then loses the same fields whatever the amount of memory. Elsewhere [`prove_carried`] does
/// it.
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

/// Checks rows that are handed over together: every row where all are checked, else the first.
///
/// # Errors
/// As [`prove_row`].
pub fn prove_rows<T: Serialize + DeserializeOwned>(rows: &mut [T], check: bool) -> Result<()> {
    let looked_at = if check { rows.len() } else { rows.len().min(1) };
    rows[..looked_at].iter_mut().try_for_each(|row| prove_row(row, check))
}

/// Checks a part of an action's result as a row is checked. A part of more than 64 KiB is checked only where every row
/// is.
///
/// # Errors
/// As [`prove_row`].
pub fn prove_part<T: Serialize + DeserializeOwned>(part: &mut T, check: bool) -> Result<()> {
    if check || is_within(part, PROVEN_PART) { prove_row(part, check) } else { Ok(()) }
}

/// Checks a value that the program gives to its tasks as a row is checked where every row is. The value travels once.
/// One of more than a mebibyte is checked only where every row is. If the value `travels` to other processes, its size is
/// counted in any case.
///
/// # Errors
/// As [`check_carried`]; also if the value is too large to travel.
pub fn prove_given<T: Serialize + DeserializeOwned>(value: &T, check: bool, travels: bool) -> Result<()> {
    let is_small = is_within(value, PROVEN_GIVEN);
    // Counted first: nothing is encoded that is refused.
    if !is_small && (check || travels) && !is_within(value, DECODE_LIMIT - 1) {
        let many = format!("is too large to be given to tasks: it takes {DECODE_LIMIT} bytes or more");
        let advice = "give a smaller value, have the tasks read it from a file (`ship_file`), or make a dataset of it and \
                      join that";
        return Err(not_carried(type_name::<T>(), many, advice));
    }
    if check || is_small { check_carried(value).map(drop) } else { Ok(()) }
}

/// The largest part of a result, in bytes, that is checked without being asked to.
const PROVEN_PART: usize = 64 << 10;
/// The same limit for a value that is given once.
const PROVEN_GIVEN: usize = 1 << 20;

/// What helps where `Serialize` and `Deserialize` do not fit together.
const UNLIKE: &str = "let `Serialize` and `Deserialize` say the same: without serde's `skip_serializing`, \
                      `skip_deserializing`, `skip` for a variant, `default` for a field that is left out, and with \
                      `serialize_with` and `deserialize_with` that fit";

/// What helps where a variant is not read.
const WITHOUT_VARIANTS: &str = "let every variant be read: remove the attribute, or place the variant last and let no row \
                                be of it";

/// The error for a value that is not written: for the fault, or without one because it takes too many bytes.
#[cold]
#[inline(never)]
fn not_encoded(name: &str, fault: Option<Fault>, bytes: usize) -> Error {
    match fault {
        Some(why) => not_carried(
            name,
            format!("cannot be encoded: {why}"),
            "values that cross a shuffle or return to the driver need a `Serialize` that tells every field each time",
        ),
        None => not_carried(
            name,
            format!("cannot be encoded: a value takes {bytes} bytes, and {DECODE_LIMIT} are too many"),
            "make several values of it",
        ),
    }
}

#[cold]
#[inline(never)]
fn not_decoded<T: DeserializeOwned>(fault: &Fault, bytes: &[u8]) -> Error {
    // Decodes once more, to find the field.
    refused(type_name::<T>(), fault, &seen_of::<T>(bytes).0)
}

fn refused(name: &str, fault: &Fault, seen: &Seen) -> Error {
    let place = seen.place().map(|place| format!(" at {place}")).unwrap_or_default();
    match fault.kind() {
        Kind::Asks => not_carried(
            name,
            format!(
                "cannot be decoded{place}: it asks the bytes what they are (`deserialize_any`), as types with serde's \
                 `tag`, `untagged` or `flatten` do, and those that describe themselves, such as `serde_json::Value`"
            ),
            "remove the attribute for values that cross a shuffle or return to the driver, or carry a text of it",
        ),
        _ => not_carried(name, format!("cannot be decoded{place}: {fault}"), UNLIKE),
    }
}

#[cold]
fn not_carried(name: &str, message: String, advice: &str) -> Error {
    Error::Type { name: name.into(), message, advice: advice.into(), site: None }
}
