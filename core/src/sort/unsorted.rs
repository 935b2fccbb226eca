//! The rows of a run before and while it is sorted.

use super::index::Index;
use crate::exchange::{encode_rows, join_rows};
use crate::row::{Row, RowSize};
use tryworks_base::{Result, codec};

/// Rows in order of arrival, and after `sort` in the order of their keys.
pub(crate) enum Unsorted<K, V> {
    /// Rows that own nothing, as values.
    Values(Vec<(K, V)>),
    /// Rows that own memory. They are encoded when they arrive, while they are in the CPU's caches, and sorted by
    /// copying bytes. As values they would be spread over memory, and reading or freeing each would be a cache miss.
    Encoded { rows: Vec<EncodedRow<K>>, bytes: Vec<u8>, key_size: RowSize<K> },
}

/// A frame of rows that own nothing has 16 rows or more, unless they take more bytes than this.
const LEAST_BYTES: usize = 8 << 10;

pub(crate) struct EncodedRow<K> {
    key: K,
    /// The position in the bytes. It also tells the order of arrival. A run is sealed long before a `u32` is too small.
    start: u32,
    len: u32,
}

impl<K: Row + Ord, V: Row> Unsorted<K, V> {
    pub(crate) fn new() -> Self {
        match std::mem::needs_drop::<(K, V)>() {
            true => Unsorted::Encoded { rows: Vec::new(), bytes: Vec::new(), key_size: RowSize::new() },
            false => Unsorted::Values(Vec::new()),
        }
    }

    /// Adds a row, and returns its bytes.
    #[inline]
    pub(crate) fn push(&mut self, row: (K, V)) -> Result<usize> {
        match self {
            Unsorted::Values(rows) => {
                rows.push(row);
                Ok(size_of::<(K, V)>())
            }
            Unsorted::Encoded { rows, bytes, key_size } => {
                let start = bytes.len();
                codec::encode(&row, bytes)?;
                let len = bytes.len() - start;
                if rows.len().is_multiple_of(1024) {
                    key_size.sample(&row.0);
                }
                rows.push(EncodedRow { key: row.0, start: start as u32, len: len as u32 });
                Ok(len)
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Unsorted::Values(rows) => rows.len(),
            Unsorted::Encoded { rows, .. } => rows.len(),
        }
    }

    /// The bytes of all rows.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Unsorted::Values(rows) => size_of_val(&**rows) as u64,
            Unsorted::Encoded { rows, bytes, key_size } => {
                (bytes.len() + size_of_val(&**rows)) as u64 + key_size.heap_of(rows.len())
            }
        }
    }

    /// Sorts the rows by their keys, then by arrival.
    pub(crate) fn sort(&mut self) {
        match self {
            Unsorted::Values(rows) => rows.sort_by(|a, b| a.0.cmp(&b.0)),
            Unsorted::Encoded { rows, .. } => {
                rows.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(a.start.cmp(&b.start)));
            }
        }
    }

    /// Passes the rows to `write`, in frames of about `size` bytes, and removes them. Returns the index of the frames.
    pub(crate) fn cut(&mut self, size: usize, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Index<K>> {
        let (mut frame, mut index) = (Vec::new(), Index::new(self.bytes()));
        match self {
            Unsorted::Values(rows) => {
                let row = size_of::<(K, V)>().max(1);
                let least = (LEAST_BYTES / row).clamp(1, 16);
                for rows in rows.chunks((size / row).clamp(least, 4096)) {
                    encode_rows(rows, &mut frame)?;
                    index.add(&rows[0].0, size_of_val(rows));
                    write(&frame)?;
                }
                rows.clear();
            }
            Unsorted::Encoded { rows, bytes, .. } => {
                let mut rest = &rows[..];
                while let Some(first) = rest.first() {
                    let mut taken = 0;
                    let is_full = |row: &EncodedRow<K>| {
                        let before = taken;
                        taken += row.len as usize;
                        before >= size
                    };
                    let (rows, after) = rest.split_at(rest.iter().position(is_full).unwrap_or(rest.len()));
                    let encoded = rows.iter().map(|row| &bytes[row.start as usize..][..row.len as usize]);
                    join_rows(encoded, &mut frame)?;
                    index.add(&first.key, frame.len());
                    write(&frame)?;
                    rest = after;
                }
                rows.clear();
                bytes.clear();
            }
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::decode_rows;

    /// The content of the frames of sorted rows.
    fn sorted<K: Row + Ord, V: Row>(given: Vec<(K, V)>, size: usize) -> (Vec<Vec<(K, V)>>, Vec<K>) {
        let mut rows = Unsorted::new();
        given.into_iter().for_each(|row| assert!(rows.push(row).unwrap() > 0));
        rows.sort();
        let mut frames = Vec::new();
        let firsts = rows.cut(size, &mut |bytes| {
            let mut rows = Vec::new();
            decode_rows(bytes, &mut rows)?;
            frames.push(rows);
            Ok(())
        });
        assert_eq!((rows.len(), rows.bytes()), (0, 0));
        let (every, largest, firsts) = firsts.unwrap().written();
        assert!(every == 1 && largest > 0);
        (frames, firsts)
    }

    #[test]
    fn both_forms_are_sorted_alike_and_cut_by_bytes() {
        let given: Vec<(u32, u64)> = (0..1000).map(|row| (row as u32 * 7 % 13, row)).collect();
        let mut expected = given.clone();
        expected.sort_by_key(|row| row.0);
        let (frames, firsts) = sorted(given.clone(), 320);
        assert_eq!(frames.concat(), expected);
        assert!(
            frames.iter().all(|rows| rows.len() <= 20) && firsts == frames.iter().map(|f| f[0].0).collect::<Vec<_>>()
        );

        let owned = |rows: Vec<(u32, u64)>| rows.into_iter().map(|(key, row)| (key, row.to_string())).collect();
        let (frames, firsts) = sorted::<u32, String>(owned(given), 320);
        assert_eq!(frames.concat(), owned(expected));
        // Each row takes up to five bytes.
        assert!(frames[..frames.len() - 1].iter().all(|rows| rows.len() >= 64 && rows.len() <= 160));
        assert_eq!(firsts, frames.iter().map(|f| f[0].0).collect::<Vec<_>>());
    }
}
