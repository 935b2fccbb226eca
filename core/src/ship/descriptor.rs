//! Parcels: a static descriptor, found by its distance from an anchor in the same executable.

use super::{Decoder, Encoder, Ship};
use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use std::any::{Any, TypeId};
use std::hash::BuildHasher;
use std::ops::Range;
use tryworks_base::{Error, Result};

/// Something sendable, as bytes. It has a meaning in the same program only. The sender must say which program that is,
/// and the receiver must check this before it opens the parcel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parcel {
    /// The distance from the anchor to the descriptor.
    offset: i64,
    /// A hash of the type that the descriptor decodes.
    type_hash: u64,
    /// The encoded data.
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
}

impl Parcel {
    /// How many bytes its data has.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks whether it is empty")]
    pub fn len(&self) -> usize {
        self.data.len()
    }
}

const MAGIC: u64 = 0x7472_7977_6f72_6b73;

#[repr(C)]
struct Descriptor {
    magic: u64,
    type_id: TypeId,
    decode: fn(&mut Decoder) -> Result<Box<dyn Any + Send + Sync>>,
}

/// Only its address matters. Its value is not the magic number, so no parcel can pass it off as a descriptor.
static ANCHOR: u64 = !MAGIC;

fn anchor() -> usize {
    &raw const ANCHOR as usize
}

fn type_hash(id: TypeId) -> u64 {
    FixedState::with_seed(0).hash_one(id)
}

/// A type that is sent as a parcel, and the erased pointer that the receiver gets.
pub(crate) trait Role: Ship + 'static {
    type Erased: Send + Sync + 'static;
    /// Whether it is a segment of a boxed pipe, whose other links are sent separately.
    const FEEDING: bool = false;
    fn erase(self) -> Self::Erased;
}

trait Described {
    const DESCRIPTOR: &'static Descriptor;
}

impl<S: Role> Described for S {
    const DESCRIPTOR: &'static Descriptor =
        &Descriptor { magic: MAGIC, type_id: TypeId::of::<S>(), decode: |from| Ok(Box::new(S::decode(from)?.erase())) };
}

/// Makes a parcel.
pub(crate) fn pack<S: Role>(thing: &S) -> Result<Parcel> {
    pack_as(S::DESCRIPTOR, S::FEEDING, &|encoder| thing.encode(encoder))
}

/// The part of this that is compiled once, not for each type.
fn pack_as(
    descriptor: &'static Descriptor,
    feeding: bool,
    encode: &dyn Fn(&mut Encoder) -> Result<()>,
) -> Result<Parcel> {
    let mut encoder = Encoder::new(feeding);
    encode(&mut encoder)?;
    Ok(Parcel {
        offset: (&raw const *descriptor as usize).wrapping_sub(anchor()) as i64,
        type_hash: type_hash(descriptor.type_id),
        data: encoder.bytes,
    })
}

/// The parts of the main executable that are mapped read-only.
#[derive(Clone, Debug, Default)]
pub struct Segments(Vec<Range<usize>>);

impl Segments {
    /// Finds them in the text of `/proc/self/maps`: they belong to the file that holds the anchor, which is the program
    /// itself.
    pub fn from_maps(maps: &str) -> Self {
        struct Line<'a> {
            range: Range<usize>,
            rights: &'a str,
            file: (&'a str, &'a str),
        }
        let line = |text| -> Option<Line> {
            let mut words = str::split_ascii_whitespace(text);
            let (start, end) = words.next()?.split_once('-')?;
            let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
            let rights = words.next()?;
            let file = (words.nth(1)?, words.next()?);
            Some(Line { range, rights, file })
        };
        let own = maps.lines().filter_map(line).find(|line| line.range.contains(&anchor())).map(|line| line.file);
        let readable = maps.lines().filter_map(line).filter(|line| Some(line.file) == own && line.rights == "r--p");
        Segments(readable.map(|line| line.range).collect())
    }

    fn hold(&self, address: usize, len: usize) -> bool {
        self.0
            .iter()
            .any(|range| range.contains(&address) && address.checked_add(len).is_some_and(|end| end <= range.end))
    }
}

impl Parcel {
    /// Checks that the code of this parcel is in the main executable, where another process can find it.
    ///
    /// # Errors
    /// If it is in a shared object.
    pub fn check(&self, segments: &Segments) -> Result<()> {
        self.resolve(segments).map(drop)
    }

    #[allow(unsafe_code)]
    fn resolve(&self, segments: &Segments) -> Result<&'static Descriptor> {
        let refuse = |why: &str| {
            Err(Error::Bug(format!(
                "a stage was refused: {why}. Its code has to be in the program itself, not in a shared object"
            )))
        };
        let address = anchor().wrapping_add(self.offset as usize);
        if !address.is_multiple_of(align_of::<Descriptor>()) {
            return refuse("its descriptor is not aligned");
        }
        if !segments.hold(address, size_of::<Descriptor>()) {
            return refuse("its descriptor is not in a read-only part of the program");
        }
        let at = std::ptr::with_exposed_provenance::<Descriptor>(address);
        // SAFETY: the address is aligned and the whole descriptor lies in a part of the executable that is mapped
        // for reading and never written; a magic number is valid whatever its bits.
        let magic = unsafe { std::ptr::read(at.cast::<u64>()) };
        if magic != MAGIC {
            return refuse("there is no descriptor at its place");
        }
        // SAFETY: as above, and the magic number says that the compiler laid out a descriptor here.
        let descriptor = unsafe { &*at };
        if type_hash(descriptor.type_id) != self.type_hash {
            return refuse("the descriptor at its place is another one");
        }
        Ok(descriptor)
    }
}

/// Opens a parcel.
pub(crate) fn unpack<S: Send + Sync + 'static>(parcel: &Parcel, segments: &Segments, feeding: bool) -> Result<S> {
    let descriptor = parcel.resolve(segments)?;
    let mut decoder = Decoder::new(&parcel.data, segments, feeding);
    let thing = (descriptor.decode)(&mut decoder)?;
    if !decoder.bytes.is_empty() {
        return Err(Error::Bug("a stage was refused: bytes were left over after decoding".into()));
    }
    let thing = thing.downcast::<S>().map_err(|_| Error::Bug("a stage was refused: it is of another kind".into()))?;
    Ok(*thing)
}
