//! Shipping: how a pipe leaves its process and is found again in another one of the same program.
//!
//! A thing that is sent is a [`Parcel`]: the place of a static descriptor in the executable, and data. The receiver
//! checks the place before it believes it, and the data is decoded by the function that the descriptor names.

mod code;
mod descriptor;

pub use code::{GIVE_IT, NoCaptures, captures_nothing};
pub(crate) use code::{Plain, conjure};
pub use descriptor::{Parcel, Segments};
pub(crate) use descriptor::{Role, pack, unpack};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tryworks_base::{Error, Result, codec};

/// What can be sent to another process of the same program. Only this crate makes the [`Encoder`] and [`Decoder`]
/// that its methods take, so that nothing else can make a closure out of nothing.
pub trait Ship: Sized {
    /// Writes what is not code.
    ///
    /// # Errors
    /// If a value refuses to be encoded.
    fn encode(&self, to: &mut Encoder) -> Result<()>;

    /// Reads what [`encode`](Ship::encode) wrote.
    ///
    /// # Errors
    /// If the bytes are not that.
    fn decode(from: &mut Decoder) -> Result<Self>;
}

/// Implements [`Ship`] for a struct by its fields, in the order in which they are written and read, each with how it
/// travels: `ship` by its own [`Ship`], `value` as a value of ours, `given` as a value of the program's, `code` not at
/// all (it is made again from its type), `none` not at all (it begins as its default).
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
    /// A segment of a boxed chain is being written: the chain it hangs on is written elsewhere.
    pub(crate) feeding: bool,
}

/// Where [`Ship::decode`] reads.
pub struct Decoder<'a> {
    bytes: &'a [u8],
    segments: &'a Segments,
    /// As in the [`Encoder`].
    pub(crate) feeding: bool,
}

impl Encoder {
    fn new(feeding: bool) -> Self {
        Encoder { bytes: Vec::new(), feeding }
    }

    /// Writes a value.
    ///
    /// # Errors
    /// If it refuses.
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        codec::encode(value, &mut self.bytes)
    }

    /// Writes a value of the program's, after the number of its bytes: if its type reads more or fewer than it writes,
    /// that is told of it, and not of what follows.
    ///
    /// # Errors
    /// If it refuses.
    pub fn given<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let at = self.bytes.len() + GIVEN_HEAD;
        self.bytes.resize(at, 0);
        codec::encode(value, &mut self.bytes)?;
        let written = (self.bytes.len() - at) as u64;
        self.bytes[at - GIVEN_HEAD..at].copy_from_slice(&written.to_le_bytes());
        Ok(())
    }
}

/// The bytes of the number before a value of the program's.
const GIVEN_HEAD: usize = size_of::<u64>();

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8], segments: &'a Segments, feeding: bool) -> Self {
        Decoder { bytes, segments, feeding }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// If the bytes are none of that type.
    pub fn value<T: DeserializeOwned>(&mut self) -> Result<T> {
        let (value, taken) = codec::decode(self.bytes)?;
        self.bytes = &self.bytes[taken..];
        Ok(value)
    }

    /// Reads a value of the program's.
    ///
    /// # Errors
    /// If its bytes are not one of that type, whole.
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
