//! Records: rows of a fixed number of bytes.

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Deref;

/// A row of `N` bytes, ordered by its bytes. It owns no memory, so sorting and shuffling records needs no allocation
/// for each of them. Functions pass records by value, so they should have no more than a few kilobytes.
///
/// ```
/// # use tryworks::prelude::*;
/// # let cx = Context::local(2)?;
/// let records = cx.parallelize([*b"b1", *b"a2", *b"a1"].map(Record));
/// assert_eq!(records.sort_by(|record| record.prefix::<1>()).collect()?, [*b"a2", *b"a1", *b"b1"].map(Record));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record<const N: usize>(pub [u8; N]);

impl<const N: usize> Record<N> {
    /// Its first `K` bytes, such as a key.
    ///
    /// ```
    /// use tryworks::Record;
    /// assert_eq!(Record(*b"whale.txt").prefix::<5>(), Record(*b"whale"));
    /// ```
    #[inline]
    pub fn prefix<const K: usize>(&self) -> Record<K> {
        const { assert!(K <= N, "a prefix is no longer than its record") }
        let mut prefix = [0; K];
        prefix.copy_from_slice(&self.0[..K]);
        Record(prefix)
    }
}

impl<const N: usize> Deref for Record<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> From<[u8; N]> for Record<N> {
    fn from(bytes: [u8; N]) -> Self {
        Record(bytes)
    }
}

impl<const N: usize> fmt::Debug for Record<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl<const N: usize> Serialize for Record<N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Record<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_bytes(BytesOf)
    }
}

struct BytesOf<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for BytesOf<N> {
    type Value = Record<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a record of {N} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Record<N>, E> {
        bytes.try_into().map(Record).map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    /// Formats without byte strings, such as JSON, use a list of numbers.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Record<N>, A::Error> {
        let mut bytes = [0; N];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = list.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
        }
        match list.next_element::<u8>()? {
            Some(_) => Err(A::Error::invalid_length(N + 1, &self)),
            None => Ok(Record(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tryworks_base::codec;

    #[test]
    fn records_come_back_from_their_bytes_and_from_json() {
        let mut state = 1u8;
        let record = Record::<300>(std::array::from_fn(|_| {
            state = state.wrapping_mul(77).wrapping_add(31);
            state
        }));
        let mut bytes = Vec::new();
        codec::encode(&record, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 303, "a length and the bytes");
        assert!(codec::decode::<Record<300>>(&bytes).unwrap().0 == record);
        assert!(codec::check_carried(&record).unwrap() == record);
        let json = serde_json::to_string(&record).unwrap();
        assert!(serde_json::from_str::<Record<300>>(&json).unwrap() == record);
        // A record of another length is an error, and is not cut.
        assert!(codec::decode::<Record<299>>(&bytes).is_err());
        assert!(serde_json::from_str::<Record<299>>(&json).is_err());
        assert!(serde_json::from_str::<Record<301>>(&json).is_err());
    }
}
