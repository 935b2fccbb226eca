//! What the type of an item needs so that it can cross a shuffle.

use crate::heap::heap_bytes;
use crate::pipe::BATCH;
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

/// Tells when rows that are gathered in a vector are as many as wanted, or take as many bytes. It looks at a few rows
/// only, so what it says depends on the rows alone. Rows of a type that owns nothing are counted, not looked at.
#[derive(Debug)]
pub(crate) struct Gathered {
    most_rows: usize,
    most_bytes: u64,
    /// At how many rows to look again.
    look_at: usize,
    /// How many rows there were at the last look, and about how many bytes they pointed to.
    looked: usize,
    bytes: u64,
}

/// The most rows between two looks. Rows that suddenly are large are noticed after this many.
const BETWEEN_LOOKS: u64 = 16;

impl Gathered {
    pub(crate) fn new(most_rows: usize, most_bytes: u64) -> Self {
        Gathered { most_rows, most_bytes, look_at: 0, looked: 0, bytes: 0 }
    }

    /// Whether there are enough rows. To be asked after each row, or from some row on. `of` returns what is measured of a
    /// row.
    #[inline]
    pub(crate) fn is_full<R, T: Serialize>(&mut self, rows: &[R], of: impl Fn(&R) -> &T) -> bool {
        if const { std::mem::needs_drop::<T>() } {
            let heap = || rows.last().map_or(0, |last| heap_bytes(of(last)));
            rows.len() >= self.look_at && self.look(rows.len(), &heap)
        } else {
            rows.len() >= self.most_rows
        }
    }

    /// Looks at the last row. `heap` returns how many bytes it points to.
    #[cold]
    fn look(&mut self, rows: usize, heap: &dyn Fn() -> u64) -> bool {
        if rows >= self.most_rows {
            return true;
        }
        let each = heap().max(1);
        self.bytes = self.bytes.saturating_add(each.saturating_mul((rows - self.looked) as u64));
        self.looked = rows;
        let more = (self.most_bytes.saturating_sub(self.bytes) / each).clamp(1, BETWEEN_LOOKS);
        self.look_at = self.most_rows.min(rows + more as usize);
        self.bytes >= self.most_bytes
    }

    /// Starts over. The first `rows` rows do not count.
    pub(crate) fn begin(&mut self, rows: usize) {
        (self.look_at, self.looked, self.bytes) = (0, rows, 0);
    }
}

/// How many source items to ask a cursor for, so that the rows which it yields take little memory while they are
/// gathered: a cursor cannot be stopped before it has yielded what it was asked for.
#[derive(Debug)]
pub(crate) struct Pace(usize);

/// The most bytes that gathered rows should take.
const PACE_BYTES: u64 = 1 << 20;

impl Pace {
    pub(crate) fn new<T>() -> Self {
        Pace(if const { std::mem::needs_drop::<T>() } { BETWEEN_LOOKS as usize } else { BATCH })
    }

    /// How many source items to ask for.
    pub(crate) fn items(&self) -> usize {
        self.0
    }

    /// Notes which rows the items yielded.
    pub(crate) fn yielded<T: Serialize>(&mut self, rows: &[T]) {
        if const { std::mem::needs_drop::<T>() } {
            self.took(rows.last().map_or(0, |last| (size_of::<T>() as u64 + heap_bytes(last)) * rows.len() as u64));
        }
    }

    fn took(&mut self, bytes: u64) {
        if bytes > PACE_BYTES {
            self.0 = (self.0 as u64 * PACE_BYTES / bytes).max(1) as usize;
        } else if bytes <= PACE_BYTES / 2 {
            self.0 = BATCH.min(2 * self.0);
        }
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

    #[test]
    fn a_cursor_of_large_rows_is_asked_for_few() {
        let asked = |pace: &mut Pace, bytes: usize| {
            let rows = vec!["x".repeat(bytes); pace.items()];
            pace.yielded(&rows);
            pace.items()
        };
        let mut pace = Pace::new::<String>();
        assert_eq!(asked(&mut pace, 1 << 20), 1);
        assert_eq!(asked(&mut pace, 1 << 20), 1);
        for _ in 0..10 {
            asked(&mut pace, 10);
        }
        assert_eq!(pace.items(), BATCH);
        assert!(asked(&mut pace, 10 << 10) < 200);
        assert_eq!(Pace::new::<u64>().items(), BATCH);
    }

    /// With how many rows it is full.
    fn full<T: Serialize + Clone>(rows: &[T], most_rows: usize, most_bytes: u64) -> usize {
        let mut gathered = Gathered::new(most_rows, most_bytes);
        let find =
            |gathered: &mut Gathered| (1..=rows.len()).find(|&at| gathered.is_full(&rows[..at], |row| row)).unwrap();
        let first = find(&mut gathered);
        gathered.begin(0);
        assert_eq!(find(&mut gathered), first);
        first
    }

    #[test]
    fn rows_are_bounded_by_their_number_and_by_their_bytes() {
        let long = |bytes: usize| "x".repeat(bytes);
        assert_eq!(full(&vec![7u64; 300], 256, 100), 256);
        assert_eq!(full(&vec![long(10); 300], 256, 1 << 20), 256);
        assert_eq!(full(&vec![long(1 << 20); 300], 256, 1 << 20), 1);
        assert_eq!(full(&vec![long(100 << 10); 300], 256, 1 << 20), 11);
        let mixed = [vec![long(10); 100], vec![long(1 << 20); 200]].concat();
        assert!((101..=117).contains(&full(&mixed, 256, 1 << 20)));
    }
}
