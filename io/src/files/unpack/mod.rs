//! Decompressors over a whole file: gzip members and, with the feature `zstd`, zstd frames, one after another.

mod gzip;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(feature = "zstd")]
pub(super) use self::zstd::Zstd;
pub(super) use gzip::Gzip;

/// How much of a compressed file is read at a time.
const PACKED_BUFFER: usize = 64 * 1024;
/// About how many bytes a decompressor holds beside its window.
const STATE_BYTES: u64 = 512 << 10;
