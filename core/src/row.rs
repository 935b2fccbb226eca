//! What the type of an item needs so that it can cross a shuffle.

use crate::heap::heap_bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::hash::Hash;
use std::io;

/// An item that can cross a shuffle or be cached: a serde value that can be cloned. Blocks are read in place and may be
/// read again, by another action or a second attempt. So readers clone the items.
///
/// Its `Serialize` and `Deserialize` have to agree without the help of names, because one field is written after
/// another. Serde's `skip_serializing_if`, `flatten`, `tag` and `untagged` are errors that name the type
/// ([`Error::Type`](tryworks_base::Error::Type)).
///
/// `#[serde(skip)]` is **not supported**. A skipped field is kept while the row stays in memory, and lost when the row
/// is written. After a skipped variant, later variants turn into others. Contexts of debug builds, and contexts that
/// check rows, find these attributes; the guide says which fields are not found.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel: it cannot cross a shuffle or be cached",
    label = "the items have to be serde values that can be cloned",
    note = "derive serde's `Serialize` and `Deserialize`, and `Clone`, for it"
)]
pub trait Row: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Row for T {}

/// A [`Row`] that can be a key of pairs. `Hash` and `Eq` must agree: equal keys have equal hashes. Both must give the
/// same result for a key whenever and wherever they are called.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "items are grouped and found by their keys",
    note = "a key has `Hash`, `Eq`, `Clone` and serde's `Serialize` and `Deserialize`"
)]
pub trait Key: Row + Hash + Eq {}

#[diagnostic::do_not_recommend]
impl<T: Row + Hash + Eq> Key for T {}

/// The most bytes of a key that errors show.
const SHOWN: usize = 200;

/// The beginning of a text. What follows it is refused, so that nothing makes the rest.
struct Beginning(Vec<u8>);

impl io::Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let more = bytes.len().min(SHOWN - self.0.len());
        self.0.extend_from_slice(&bytes[..more]);
        // Nothing written of something is an error of whoever writes.
        Ok(more)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The key as text, for errors that name it. A key that does not fit in memory is long, so its text is cut.
pub(crate) fn show<K: Serialize>(key: &K) -> String {
    let mut shown = Beginning(Vec::new());
    let written = serde_json::to_writer(&mut shown, key);
    match written {
        Err(error) if !error.is_io() => format!("of type {}", std::any::type_name::<K>()),
        whole => {
            // The cut may be inside a character.
            let text = shown.0.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            format!("{text}{}", if whole.is_ok() { "" } else { "…" })
        }
    }
}

/// The bytes that a row of this type takes, including its heap memory. This is exact for types without heap memory.
/// Otherwise it is estimated from samples: from the encoded length, and from what serde shows of containers and boxes.
#[derive(Debug)]
pub(crate) struct RowSize<T> {
    size: Size,
    item: std::marker::PhantomData<fn(T)>,
}

/// What a [`RowSize`] estimates, in code that is compiled once for all types of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    row: u64,
    sampled: u64,
    heap: u64,
}

impl Size {
    /// Takes a sample: the encoded length of a row, and the bytes that it points to.
    fn sample(&mut self, written: usize, heap: u64) {
        // Short content is inside the value (short strings), or in a small allocation with its overhead.
        let written = written as u64;
        let written = if written > self.row / 2 { written + 16 } else { 8 };
        self.heap += written.max(heap);
        self.sampled += 1;
    }

    /// The bytes of `rows` rows.
    pub(crate) fn of(self, rows: usize) -> u64 {
        rows as u64 * self.row + self.heap_of(rows)
    }

    /// The bytes that `rows` rows point to.
    pub(crate) fn heap_of(self, rows: usize) -> u64 {
        (rows as u64 * self.heap).checked_div(self.sampled).unwrap_or(0)
    }
}

impl<T: Serialize> RowSize<T> {
    pub(crate) fn new() -> Self {
        let size = Size { row: size_of::<T>() as u64, sampled: 0, heap: 0 };
        RowSize { size, item: std::marker::PhantomData }
    }

    /// Takes one row as a sample, unless its type owns nothing.
    pub(crate) fn sample(&mut self, row: &T) {
        if const { std::mem::needs_drop::<T>() } {
            self.size.sample(tryworks_base::codec::encoded_len(row), heap_bytes(row));
        }
    }

    /// The estimates from the samples.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// The bytes of `rows` rows.
    pub(crate) fn of(&self, rows: usize) -> u64 {
        self.size.of(rows)
    }

    /// The bytes that `rows` rows point to.
    pub(crate) fn heap_of(&self, rows: usize) -> u64 {
        self.size.heap_of(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_beginning_of_a_long_key() {
        assert_eq!(show(&("a", 1)), r#"["a",1]"#);
        assert_eq!(show(&"x".repeat(1 << 20)), format!("\"{}…", "x".repeat(SHOWN - 1)));
        assert_eq!(show(&vec![7u8; 1 << 20]), format!("[{}7…", "7,".repeat(SHOWN / 2 - 1)));
        assert_eq!(show(&"é".repeat(SHOWN)), format!("\"{}…", "é".repeat(SHOWN / 2 - 1)), "no character is cut");
        let unnamed = std::collections::BTreeMap::from([(vec![1u8], "no name of JSON's")]);
        assert!(show(&unnamed).starts_with("of type alloc::collections"), "{}", show(&unnamed));
    }
}
