//! Decoding that allocates nothing for what is only claimed. For a string or for bytes, bincode allocates the length
//! that they claim before it checks that they are there. So this decoder takes them from the input itself and then
//! copies them. Sequences and maps need no such care: serde allocates at most one mebibyte of them in advance. The
//! decoder also reports what it reads to a [`Watch`].

use super::watch::Watch;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::fmt;
use std::marker::PhantomData;

/// Asks for a value of this type, and reports to the watch.
pub(super) struct Bounded<T, W>(PhantomData<T>, W);

impl<T, W: Watch> Bounded<T, W> {
    pub(super) fn new(watch: W) -> Self {
        Bounded(PhantomData, watch)
    }
}

impl<'de, T: DeserializeOwned, W: Watch> DeserializeSeed<'de> for Bounded<T, W> {
    type Value = T;

    #[inline(always)]
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        T::deserialize(Within(from, self.1))
    }
}

/// A part of bincode's decoder, wrapped so that everything inside it allocates only for bytes that are there.
struct Within<T, W>(T, W);

/// Gives a visitor an owned copy, as it asked for.
struct Copied<V>(V);

macro_rules! pass_on {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[inline(always)]
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Within(visitor, self.1))
        }
    )*};
}

/// As [`pass_on`], for calls with parts: the name, and the names of the fields.
macro_rules! with_parts {
    ($of:ident: $($method:ident($($argument:ident: $type:ty),*) = $name:expr, $fields:expr;)*) => {$(
        #[inline(always)]
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, $of::Error> {
            let watch = self.1;
            watch.begin::<V::Value>($name, $fields);
            let read = self.0.$method($($argument,)* Within(visitor, watch));
            watch.end(read.is_ok());
            read
        }
    )*};
}

impl<'de, D: Deserializer<'de>, W: Watch> Deserializer<'de> for Within<D, W> {
    type Error = D::Error;

    pass_on! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_bytes();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_map();
        deserialize_identifier();
        deserialize_ignored_any();
    }

    with_parts! {
        D:
        deserialize_seq() = "", &[];
        deserialize_tuple(len: usize) = "", &[];
        deserialize_tuple_struct(name: &'static str, len: usize) = name, &[];
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) = name, fields;
    }

    #[inline(always)]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.1.choice::<V::Value>(name);
        self.0.deserialize_enum(name, variants, Within(visitor, self.1))
    }

    #[inline(always)]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_str(Copied(visitor))
    }

    #[inline(always)]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_bytes(Copied(visitor))
    }

    #[inline(always)]
    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Copied<V> {
    type Value = V::Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(to)
    }

    #[inline(always)]
    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        self.0.visit_string(text.to_owned())
    }

    #[inline(always)]
    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<V::Value, E> {
        self.0.visit_byte_buf(bytes.to_vec())
    }
}

macro_rules! visits {
    ($($method:ident($type:ty);)*) => {$(
        #[inline(always)]
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>, W: Watch> Visitor<'de> for Within<V, W> {
    type Value = V::Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(to)
    }

    visits! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
    }

    #[inline(always)]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    #[inline(always)]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    #[inline(always)]
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Within(from, self.1))
    }

    #[inline(always)]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Within(from, self.1))
    }

    #[inline(always)]
    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Within(access, self.1))
    }

    #[inline(always)]
    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Within(access, self.1))
    }

    #[inline(always)]
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Within(access, self.1))
    }
}

impl<'de, S: DeserializeSeed<'de>, W: Watch> DeserializeSeed<'de> for Within<S, W> {
    type Value = S::Value;

    #[inline(always)]
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Within(from, self.1))
    }
}

impl<'de, A: SeqAccess<'de>, W: Watch> SeqAccess<'de> for Within<A, W> {
    type Error = A::Error;

    #[inline(always)]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.1.part::<S::Value>();
        self.0.next_element_seed(Within(seed, self.1))
    }

    #[inline(always)]
    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>, W: Watch> MapAccess<'de> for Within<A, W> {
    type Error = A::Error;

    #[inline(always)]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(Within(seed, self.1))
    }

    #[inline(always)]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Within(seed, self.1))
    }

    #[inline(always)]
    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>, W: Watch> EnumAccess<'de> for Within<A, W> {
    type Error = A::Error;
    type Variant = Within<A::Variant, W>;

    #[inline(always)]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.0.variant_seed(Within(seed, self.1))?;
        Ok((value, Within(variant, self.1)))
    }
}

impl<'de, A: VariantAccess<'de>, W: Watch> VariantAccess<'de> for Within<A, W> {
    type Error = A::Error;

    #[inline(always)]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    #[inline(always)]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Within(seed, self.1))
    }

    with_parts! {
        A:
        tuple_variant(len: usize) = "", &[];
        struct_variant(fields: &'static [&'static str]) = "", &[];
    }
}
