//! Reads values from bytes, in the format of `write`. A false length allocates nothing: the bytes of a string are copied only
//! after they were found in the input. For sequences and maps, serde allocates at most one mebibyte before their items are
//! read.
//!
//! If asked, the decoder records what it reads (`watch`). That is a mode of the one decoder, because a second decoder would
//! make every type of rows in a program slower to build.

use super::DECODE_LIMIT;
use super::fault::{Fault, Kind};
use super::watch::Seen;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor, value::U32Deserializer,
};
use std::any::type_name;

/// Reads one value from the front of `bytes`, and returns it with the number of bytes that it took. What is read is recorded
/// in `seen`.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], seen: Option<&mut Seen>) -> Result<(T, usize), Fault> {
    let most = bytes.len().min(DECODE_LIMIT);
    let mut reader = Reader { bytes: &bytes[..most], seen };
    match read_on(&mut reader) {
        Ok(value) => Ok((value, most - reader.bytes.len())),
        Err(fault) => Err(at_limit(fault, bytes.len())),
    }
}

/// Decodes a value. It is not inlined, so that a program has one copy of it for each type.
#[inline(never)]
fn read_on<T: DeserializeOwned>(reader: &mut Reader<'_, '_>) -> Result<T, Fault> {
    T::deserialize(reader)
}

/// If the input was cut at the limit, the fault is that the value is too large, and not that bytes are missing.
#[cold]
#[inline(never)]
fn at_limit(fault: Fault, bytes: usize) -> Fault {
    match fault.kind() {
        Kind::End(_) if bytes > DECODE_LIMIT => Fault::new(Kind::Limit),
        _ => fault,
    }
}

/// The bytes that are still to be read.
struct Reader<'de, 's> {
    bytes: &'de [u8],
    seen: Option<&'s mut Seen>,
}

/// Converts an integer to the type that was asked for.
fn narrow<T: TryFrom<u64>>(value: u64) -> Result<T, Fault> {
    value.try_into().map_err(|_| Fault::new(Kind::Integer))
}

impl<'de> Reader<'de, '_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        let Some((&byte, rest)) = self.bytes.split_first() else { return Err(self.ended(1)) };
        self.bytes = rest;
        Ok(byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some((array, rest)) = self.bytes.split_first_chunk() else { return Err(self.ended(N as u64)) };
        self.bytes = rest;
        Ok(*array)
    }

    #[cold]
    #[inline(never)]
    fn ended(&self, needed: u64) -> Fault {
        Fault::new(Kind::End(needed - self.bytes.len() as u64))
    }

    #[inline]
    fn integer(&mut self) -> Result<u64, Fault> {
        match self.bytes.split_first() {
            Some((&byte, rest)) if byte <= 250 => {
                self.bytes = rest;
                Ok(u64::from(byte))
            }
            _ => self.long(),
        }
    }

    #[inline(never)]
    fn long(&mut self) -> Result<u64, Fault> {
        // The most frequent case first: hashes and random numbers take all 8 bytes.
        if let Some((&[253, ref value @ ..], rest)) = self.bytes.split_first_chunk::<9>() {
            self.bytes = rest;
            return Ok(u64::from_le_bytes(*value));
        }
        match self.byte()? {
            251 => self.array().map(|bytes| u64::from(u16::from_le_bytes(bytes))),
            252 => self.array().map(|bytes| u64::from(u32::from_le_bytes(bytes))),
            253 => self.array().map(u64::from_le_bytes),
            254.. => Err(Fault::new(Kind::Integer)),
            byte => Ok(u64::from(byte)),
        }
    }

    #[inline(never)]
    fn longest(&mut self) -> Result<u128, Fault> {
        if self.bytes.first() != Some(&254) {
            return self.integer().map(u128::from);
        }
        self.byte()?;
        self.array().map(u128::from_le_bytes)
    }

    /// Reads a length and then that many bytes.
    #[inline]
    fn sized(&mut self) -> Result<&'de [u8], Fault> {
        let len = self.integer()?;
        match usize::try_from(len).ok().and_then(|len| self.bytes.split_at_checked(len)) {
            Some((bytes, rest)) => {
                self.bytes = rest;
                Ok(bytes)
            }
            None => Err(self.ended(len)),
        }
    }

    #[inline]
    fn text(&mut self) -> Result<&'de str, Fault> {
        std::str::from_utf8(self.sized()?).map_err(not_text)
    }

    fn length(&mut self) -> Result<usize, Fault> {
        self.integer().and_then(narrow)
    }

    #[inline]
    fn flag(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Fault::new(Kind::Flag(other))),
        }
    }

    fn char(&mut self) -> Result<char, Fault> {
        // The first byte of a character in UTF-8 gives the number of its bytes.
        let len = self.bytes.first().map_or(1, |first| (first.leading_ones() as usize).clamp(1, 4));
        let Some((bytes, rest)) = self.bytes.split_at_checked(len) else { return Err(self.ended(len as u64)) };
        self.bytes = rest;
        let text = std::str::from_utf8(bytes).ok();
        text.and_then(|text| text.chars().next()).ok_or_else(|| Fault::new(Kind::Char))
    }

    /// Reads a struct or the fields of a variant.
    #[inline]
    fn fields<V: Visitor<'de>>(
        &mut self,
        name: &'static str,
        fields: &'static [&'static str],
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Some(seen) = &mut self.seen {
            seen.begin(name, fields, size_of::<V::Value>(), align_of::<V::Value>());
        }
        let read = visitor.visit_seq(Fields { from: self, left: len });
        if let Some(seen) = &mut self.seen {
            seen.end(read.is_ok());
        }
        read
    }
}

#[cold]
#[inline(never)]
fn not_text(why: std::str::Utf8Error) -> Fault {
    Fault::new(Kind::Text(why))
}

/// The parts of a sequence, a tuple or a map. They have no names.
struct Items<'r, 'de, 's> {
    from: &'r mut Reader<'de, 's>,
    left: usize,
}

/// The fields of a struct or a variant.
struct Fields<'r, 'de, 's> {
    from: &'r mut Reader<'de, 's>,
    left: usize,
}

/// An enum, of which the number of the variant is read first.
struct Variant<'r, 'de, 's>(&'r mut Reader<'de, 's>);

macro_rules! integers {
    ($($method:ident: $visit:ident($read:ident) = $value:expr;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let $read = self.integer()?;
            visitor.$visit($value)
        }
    )*};
}

macro_rules! refused {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
            Err(Fault::new(Kind::Asks))
        }
    )*};
}

/// Decodes an integer whose sign is in its lowest bit.
macro_rules! signed {
    ($value:expr) => {{
        let value = $value;
        (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
    }};
}

impl<'de> Deserializer<'de> for &mut Reader<'de, '_> {
    type Error = Fault;

    refused! { deserialize_any deserialize_identifier deserialize_ignored_any }

    integers! {
        deserialize_i16: visit_i16(read) = signed!(narrow::<u16>(read)?);
        deserialize_i32: visit_i32(read) = signed!(narrow::<u32>(read)?);
        deserialize_i64: visit_i64(read) = signed!(read);
        deserialize_u16: visit_u16(read) = narrow(read)?;
        deserialize_u32: visit_u32(read) = narrow(read)?;
        deserialize_u64: visit_u64(read) = read;
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_i128(signed!(self.longest()?))
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u128(self.longest()?)
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_bool(self.flag()?)
    }

    #[inline]
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_i8(self.byte()?.cast_signed())
    }

    #[inline]
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u8(self.byte()?)
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f32(f32::from_le_bytes(self.array()?))
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(f64::from_le_bytes(self.array()?))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_char(self.char()?)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.text()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_string(self.text()?.to_owned())
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_bytes(self.sized()?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_byte_buf(self.sized()?.to_vec())
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.flag()? { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let left = self.length()?;
        visitor.visit_seq(Items { from: self, left })
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Items { from: self, left: len })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.fields(name, &[], len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let left = self.length()?;
        visitor.visit_map(Items { from: self, left })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.fields(name, fields, fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Some(seen) = &mut self.seen {
            seen.choice(name, variants, size_of::<V::Value>());
        }
        visitor.visit_enum(Variant(self))
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de, '_> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.from).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> SeqAccess<'de> for Fields<'_, 'de, '_> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if let Some(seen) = &mut self.from.seen {
            seen.part(type_name::<S::Value>(), size_of::<S::Value>(), align_of::<S::Value>());
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.from).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de, '_> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.next_element_seed(seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(&mut *self.from)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de, '_> {
    type Error = Fault;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let number: u32 = narrow(self.0.integer()?)?;
        let number: U32Deserializer<Fault> = number.into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de, '_> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self.0)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Items { from: self.0, left: len })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.0.fields("", fields, fields.len(), visitor)
    }
}
