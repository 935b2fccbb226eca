//! The rows of a run that is being made.

use crate::exchange::{encode_rows, join_rows};
use crate::row::{Row, RowSize};
use tryworks_base::{Result, codec};

/// Rows as they came, and then in the order of their keys.
pub(crate) enum Unsorted<K, V> {
    /// Rows that own nothing, as values.
    Values(Vec<(K, V)>),
    /// Rows that own memory. They are encoded while they are near and put in order by copying bytes: as values they
    /// would lie anywhere in memory by then, and whoever reads and frees them would miss the caches for each.
    Encoded { rows: Vec<EncodedRow<K>>, bytes: Vec<u8>, key_size: RowSize<K> },
}

pub(crate) struct EncodedRow<K> {
    key: K,
    /// Where it is among the bytes: rows that came later are further on. A run is sealed long before this is too
    /// little.
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

    /// Adds a row. Tells how many bytes it takes.
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

    /// The bytes that they take.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Unsorted::Values(rows) => size_of_val(&**rows) as u64,
            Unsorted::Encoded { rows, bytes, key_size } => {
                (bytes.len() + size_of_val(&**rows)) as u64 + key_size.heap_of(rows.len())
            }
        }
    }

    /// Puts them in order: by their keys, then as they came.
    pub(crate) fn sort(&mut self) {
        match self {
            Unsorted::Values(rows) => rows.sort_by(|a, b| a.0.cmp(&b.0)),
            Unsorted::Encoded { rows, .. } => {
                rows.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(a.start.cmp(&b.start)));
            }
        }
    }

    /// Hands them to `write`, in frames of about `size` bytes, and is empty. Gives the first key of each frame.
    pub(crate) fn cut(&mut self, size: usize, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Vec<K>> {
        let (mut frame, mut firsts) = (Vec::new(), Vec::new());
        match self {
            Unsorted::Values(rows) => {
                for rows in rows.chunks((size / size_of::<(K, V)>().max(1)).clamp(16, 4096)) {
                    encode_rows(rows, &mut frame)?;
                    firsts.push(rows[0].0.clone());
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
                    firsts.push(first.key.clone());
                    write(&frame)?;
                    rest = after;
                }
                rows.clear();
                bytes.clear();
            }
        }
        Ok(firsts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::decode_rows;

    /// What is in the frames of rows that were sorted.
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
        (frames, firsts.unwrap())
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
        // Up to five bytes each.
        assert!(frames[..frames.len() - 1].iter().all(|rows| rows.len() >= 64 && rows.len() <= 160));
        assert_eq!(firsts, frames.iter().map(|f| f[0].0).collect::<Vec<_>>());
    }
}
