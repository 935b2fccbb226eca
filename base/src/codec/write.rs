//! Writes values as bytes, in the format of bincode 2. The format has no names. An integer below 251 is one byte. A larger
//! one is a byte that gives its size, then its bytes, the lowest first. Strings, bytes, sequences and maps begin with their
//! length. An enum begins with the number of its variant.
//!
//! The serializer refuses a value that could not be read back, and names the field and the attribute. If a field were left
//! out (`skip_serializing_if`), the fields after it would come back as other values, without an error.
//!
//! Every type of rows in a program is compiled for this one serializer. To count the bytes of a value and to look where its
//! fields lie are modes of it, because a serializer of its own for each would make programs slower to build.

use super::fault::{Fault, Kind};
use super::fields::Look;
use serde::ser::{self, Serialize, Serializer};
use std::any::type_name;

/// Writes values into a buffer.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// If set, the bytes are counted and not kept.
    count: Option<Count>,
    /// If set, it is shown where the fields of the value lie.
    look: Option<&'a mut Look>,
}

struct Count {
    bytes: usize,
    most: usize,
}

/// The largest integer that is one byte.
const ONE_BYTE: u8 = 250;

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub(super) fn to(out: &'a mut Vec<u8>) -> Self {
        Writer { out, count: None, look: None }
    }

    /// As [`to`](Writer::to); it also shows the fields to `look`.
    pub(super) fn looking(out: &'a mut Vec<u8>, look: &'a mut Look) -> Self {
        Writer { out, count: None, look: Some(look) }
    }

    /// A writer that counts bytes, and fails after `most`. It uses `buffer` for bytes that are not counted yet.
    pub(super) fn counting(buffer: &'a mut Vec<u8>, most: usize) -> Self {
        Writer { out: buffer, count: Some(Count { bytes: 0, most }), look: None }
    }

    /// The number of bytes that were counted.
    pub(super) fn counted(mut self) -> Result<usize, Fault> {
        self.overflow(&[])?;
        Ok(self.count.map_or(0, |count| count.bytes))
    }

    #[inline]
    fn byte(&mut self, byte: u8) -> Result<(), Fault> {
        if self.out.len() == self.out.capacity() {
            return self.overflow(&[byte]);
        }
        self.out.push(byte);
        Ok(())
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.out.capacity() - self.out.len() < bytes.len() {
            return self.overflow(bytes);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes bytes that exceed the capacity of the buffer. Bytes are counted here and nowhere else, so that a writer that
    /// does not count is as fast as without the mode.
    #[cold]
    #[inline(never)]
    fn overflow(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match &mut self.count {
            None => self.out.extend_from_slice(bytes),
            Some(count) => {
                count.bytes += self.out.len() + bytes.len();
                self.out.clear();
                if count.bytes > count.most {
                    return Err(Fault::new(Kind::Counted));
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn integer(&mut self, value: u64) -> Result<(), Fault> {
        if value <= u64::from(ONE_BYTE) { self.byte(value as u8) } else { self.long(value) }
    }

    #[inline(never)]
    fn long(&mut self, value: u64) -> Result<(), Fault> {
        let (mark, len) = match value {
            0..=0xffff => (1, 3),
            0x1_0000..=0xffff_ffff => (2, 5),
            _ => (3, 9),
        };
        let bytes = (u128::from(value) << 8 | u128::from(ONE_BYTE + mark)).to_le_bytes();
        if self.out.capacity() - self.out.len() < 9 {
            return self.overflow(&bytes[..len]);
        }
        // To copy a known number of bytes needs no call.
        let end = self.out.len() + len;
        self.out.extend_from_slice(&bytes[..9]);
        self.out.truncate(end);
        Ok(())
    }

    #[inline(never)]
    fn longest(&mut self, value: u128) -> Result<(), Fault> {
        if let Ok(value) = u64::try_from(value) {
            return self.integer(value);
        }
        self.byte(ONE_BYTE + 4)?;
        self.bytes(&value.to_le_bytes())
    }

    #[inline]
    fn sized(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.integer(bytes.len() as u64)?;
        self.bytes(bytes)
    }

    #[inline(never)]
    fn length(&mut self, len: Option<usize>, what: &str, attribute: &str) -> Result<(), Fault> {
        match len {
            Some(len) => self.integer(len as u64),
            None => Err(Fault::told(format_args!(
                "it has a {what} whose length is not known before it is written{attribute}"
            ))),
        }
    }

    #[inline]
    fn variant(&mut self, name: &'static str, index: u32, variant: &'static str) -> Result<(), Fault> {
        if let Some(look) = &mut self.look {
            look.variant(name, variant);
        }
        self.integer(u64::from(index))
    }

    #[inline]
    fn fields<'w>(&'w mut self, name: &'static str, variant: Option<&'static str>, len: usize) -> Fields<'w, 'a> {
        if let Some(look) = &mut self.look {
            look.begin(name, variant, len);
        }
        Fields { to: self, name: variant.unwrap_or(name) }
    }
}

/// The parts of a sequence, a tuple or a map. They have no names.
pub(super) struct Items<'w, 'a>(&'w mut Writer<'a>);

/// The fields of a struct or a variant, and the name of that.
pub(super) struct Fields<'w, 'a> {
    to: &'w mut Writer<'a>,
    name: &'static str,
}

impl Fields<'_, '_> {
    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
        if let Some(look) = &mut self.to.look {
            let start = std::ptr::from_ref(value).cast::<()>().addr();
            look.field(name, type_name::<T>(), [start, size_of_val(value), align_of_val(value)]);
        }
        value.serialize(&mut *self.to)
    }

    #[inline]
    fn finish(self) {
        if let Some(look) = &mut self.to.look {
            look.end();
        }
    }

    #[cold]
    #[inline(never)]
    fn skipped(&self, field: &'static str) -> Fault {
        Fault::told(format_args!(
            "the field `{field}` of `{}` is left out (serde's `skip_serializing_if`), and bytes without names cannot say so",
            self.name
        ))
    }
}

macro_rules! integers {
    ($($method:ident($value:ident: $type:ty) = $unsigned:expr;)*) => {$(
        #[inline]
        fn $method(self, $value: $type) -> Result<(), Fault> {
            self.integer(u64::from($unsigned))
        }
    )*};
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Items<'w, 'a>;
    type SerializeTuple = Items<'w, 'a>;
    type SerializeTupleStruct = Fields<'w, 'a>;
    type SerializeTupleVariant = Fields<'w, 'a>;
    type SerializeMap = Items<'w, 'a>;
    type SerializeStruct = Fields<'w, 'a>;
    type SerializeStructVariant = Fields<'w, 'a>;

    // The sign of an integer is its lowest bit.
    integers! {
        serialize_i16(value: i16) = (value.cast_unsigned() << 1) ^ (value >> 15).cast_unsigned();
        serialize_i32(value: i32) = (value.cast_unsigned() << 1) ^ (value >> 31).cast_unsigned();
        serialize_i64(value: i64) = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
        serialize_u16(value: u16) = value;
        serialize_u32(value: u32) = value;
        serialize_u64(value: u64) = value;
    }

    fn serialize_i128(self, value: i128) -> Result<(), Fault> {
        self.longest((value.cast_unsigned() << 1) ^ (value >> 127).cast_unsigned())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Fault> {
        self.longest(value)
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Fault> {
        self.byte(value.into())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), Fault> {
        self.byte(value.cast_unsigned())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), Fault> {
        self.byte(value)
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), Fault> {
        self.bytes(&value.to_le_bytes())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Fault> {
        self.bytes(&value.to_le_bytes())
    }

    fn serialize_char(self, value: char) -> Result<(), Fault> {
        self.bytes(value.encode_utf8(&mut [0; 4]).as_bytes())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        self.sized(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        self.sized(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Fault> {
        self.byte(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.byte(1)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, name: &'static str, index: u32, variant: &'static str) -> Result<(), Fault> {
        self.variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Fault> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.variant(name, index, variant)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'w, 'a>, Fault> {
        self.length(len, "sequence", "")?;
        Ok(Items(self))
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Items<'w, 'a>, Fault> {
        Ok(Items(self))
    }

    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Fields<'w, 'a>, Fault> {
        Ok(self.fields(name, None, len))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'w, 'a>, Fault> {
        self.variant(name, index, variant)?;
        Ok(self.fields(name, Some(variant), len))
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Items<'w, 'a>, Fault> {
        self.length(len, "map", ", as serde's `flatten` makes one")?;
        Ok(Items(self))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Fields<'w, 'a>, Fault> {
        Ok(self.fields(name, None, len))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'w, 'a>, Fault> {
        self.variant(name, index, variant)?;
        Ok(self.fields(name, Some(variant), len))
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! items {
    ($($kind:ident { $($method:ident)* })*) => {$(
        impl ser::$kind for Items<'_, '_> {
            type Ok = ();
            type Error = Fault;

            $(
                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                    value.serialize(&mut *self.0)
                }
            )*

            #[inline]
            fn end(self) -> Result<(), Fault> {
                Ok(())
            }
        }
    )*};
}

macro_rules! fields {
    ($($kind:ident { serialize_field($($key:ident: $type:ty)?) $(, $skip:ident)? })*) => {$(
        impl ser::$kind for Fields<'_, '_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, $($key: $type,)? value: &T) -> Result<(), Fault> {
                let name: &[&'static str] = &[$($key)?];
                self.field(name.first().copied().unwrap_or_default(), value)
            }

            $(
                fn $skip(&mut self, field: &'static str) -> Result<(), Fault> {
                    Err(self.skipped(field))
                }
            )?

            #[inline]
            fn end(self) -> Result<(), Fault> {
                self.finish();
                Ok(())
            }
        }
    )*};
}

items! {
    SerializeSeq { serialize_element }
    SerializeTuple { serialize_element }
    SerializeMap { serialize_key serialize_value }
}

fields! {
    SerializeTupleStruct { serialize_field() }
    SerializeTupleVariant { serialize_field() }
    SerializeStruct { serialize_field(key: &'static str), skip_field }
    SerializeStructVariant { serialize_field(key: &'static str), skip_field }
}
