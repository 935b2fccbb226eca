//! Shipping: how a pipe gets from one process to another process of the same program.
//!
//! A pipe is sent as a [`Parcel`]: the address of a static descriptor in the executable, and data. The receiver checks
//! the address first. Then the function that the descriptor names decodes the data.

mod code;
mod descriptor;

pub use code::{GIVE_IT, NoCaptures, captures_nothing};
pub(crate) use code::{Plain, conjure};
pub use descriptor::{Parcel, Segments};
pub(crate) use descriptor::{Role, pack, unpack};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::{Error, Result, codec};

/// What can be sent to another process of the same program. `decode` must read exactly the bytes that `encode` wrote.
///
/// Only this crate makes the [`Encoder`] and [`Decoder`] that the methods take. So no other code can make a closure
/// that the program has never made.
pub trait Ship: Sized {
    /// Writes the data; code is not written.
    ///
    /// # Errors
    /// If a value refuses to be encoded.
    fn encode(&self, to: &mut Encoder) -> Result<()>;

    /// Reads what [`encode`](Ship::encode) wrote.
    ///
    /// # Errors
    /// If the bytes are something else.
    fn decode(from: &mut Decoder) -> Result<Self>;
}

/// Implements [`Ship`] for a struct. It lists the fields in the order in which they are written and read, each with how
/// it travels: `ship` by its own [`Ship`]; `value` as a value of Tryworks; `given` as a value of the user's program;
/// `code` not at all, because it is made from its type; `none` not at all, so the receiver starts with the default.
///
/// ```text
/// ship!([P: Ship, Q: Ship] Zip<P, Q> { left: ship, right: ship, op: value });
/// ```
macro_rules! ship {
    ([$($generics:tt)*] $name:ty { $($field:tt: $how:ident),* }) => {
        impl<$($generics)*> $crate::ship::Ship for $name {
            fn encode(&self, _to: &mut $crate::ship::Encoder) -> tryworks_base::Result<()> {
                $($crate::ship::ship!(@encode $how, self.$field, _to);)*
                Ok(())
            }

            fn decode(_from: &mut $crate::ship::Decoder) -> tryworks_base::Result<Self> {
                Ok(Self { $($field: $crate::ship::ship!(@decode $how, _from)),* })
            }
        }
    };
    (@encode ship, $field:expr, $to:ident) => { $crate::ship::Ship::encode(&$field, $to)? };
    (@encode value, $field:expr, $to:ident) => { $to.value(&$field)? };
    (@encode given, $field:expr, $to:ident) => { $to.given(&$field)? };
    (@encode code, $field:expr, $to:ident) => {};
    (@encode none, $field:expr, $to:ident) => {};
    (@decode ship, $from:ident) => { $crate::ship::Ship::decode($from)? };
    (@decode value, $from:ident) => { $from.value()? };
    (@decode given, $from:ident) => { $from.given()? };
    (@decode code, $from:ident) => { $crate::ship::conjure()? };
    (@decode none, $from:ident) => { Default::default() };
}
pub(crate) use ship;

/// Where [`Ship::encode`] writes.
pub struct Encoder {
    bytes: Vec<u8>,
    /// Whether a segment of a boxed pipe is being written. The links that it reads are written separately.
    pub(crate) feeding: bool,
}

/// Where [`Ship::decode`] reads.
pub struct Decoder<'a> {
    bytes: &'a [u8],
    segments: &'a Segments,
    /// The same as in the [`Encoder`].
    pub(crate) feeding: bool,
}

impl Encoder {
    fn new(feeding: bool) -> Self {
        Encoder { bytes: Vec::new(), feeding }
    }

    /// Writes a value.
    ///
    /// # Errors
    /// If the value refuses to be encoded.
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        codec::encode(value, &mut self.bytes)
    }

    /// Writes a value of the user's program, after its length in bytes. So if its type reads more or fewer bytes than
    /// it writes, the error names this type, and not the next one.
    ///
    /// # Errors
    /// If the value refuses to be encoded.
    pub fn given<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let at = self.bytes.len() + GIVEN_HEAD;
        self.bytes.resize(at, 0);
        codec::encode(value, &mut self.bytes)?;
        let written = (self.bytes.len() - at) as u64;
        self.bytes[at - GIVEN_HEAD..at].copy_from_slice(&written.to_le_bytes());
        Ok(())
    }
}

/// The size of the length before a value of the user's program.
const GIVEN_HEAD: usize = size_of::<u64>();

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8], segments: &'a Segments, feeding: bool) -> Self {
        Decoder { bytes, segments, feeding }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// If the bytes are not a value of this type.
    pub fn value<T: DeserializeOwned>(&mut self) -> Result<T> {
        let (value, taken) = codec::decode(self.bytes)?;
        self.bytes = &self.bytes[taken..];
        Ok(value)
    }

    /// Reads a value of the user's program.
    ///
    /// # Errors
    /// If its bytes are not exactly one value of this type.
    pub fn given<T: DeserializeOwned>(&mut self) -> Result<T> {
        let cut_off = || Error::Bug("a stage was refused: it is cut off".into());
        let (head, rest) = self.bytes.split_first_chunk().ok_or_else(cut_off)?;
        let len = usize::try_from(u64::from_le_bytes(*head)).ok();
        let (bytes, rest) = len.and_then(|len| rest.split_at_checked(len)).ok_or_else(cut_off)?;
        self.bytes = rest;
        codec::decode_whole(bytes)
    }

    pub(crate) fn segments(&self) -> &'a Segments {
        self.segments
    }
}

impl<A: Ship, B: Ship> Ship for (A, B) {
    fn encode(&self, to: &mut Encoder) -> Result<()> {
        self.0.encode(to)?;
        self.1.encode(to)
    }

    fn decode(from: &mut Decoder) -> Result<Self> {
        Ok((A::decode(from)?, B::decode(from)?))
    }
}
