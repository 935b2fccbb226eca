//! Serde's side of encoding: it refuses what bincode would write but could not read back, and names the field and the
//! attribute.
//!
//! bincode has no names, so a field that is left out shifts all later ones: `skip_serializing_if` would come back as
//! other values, without an error. The wrapper adds nothing to the code compiled for other types: it has no data, and
//! it refuses only one call, which they do not make.

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A value that refuses to be written in a way that cannot be read.
pub(super) struct Strict<'a, T: ?Sized>(pub(super) &'a T);

impl<T: Serialize + ?Sized> Serialize for Strict<'_, T> {
    #[inline(always)]
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Refusing(to))
    }
}

/// A serializer that refuses what bincode cannot read back.
struct Refusing<S>(S);

/// Serializes the parts of a value, and knows the name of its type.
struct Parts<S> {
    to: S,
    name: &'static str,
}

impl<S> Parts<S> {
    #[inline(always)]
    fn of<E>(name: &'static str, to: Result<S, E>) -> Result<Self, E> {
        Ok(Parts { to: to?, name })
    }

    #[cold]
    fn left_out<E: Error>(&self, field: &'static str) -> E {
        E::custom(format_args!(
            "the field `{field}` of `{}` is left out (serde's `skip_serializing_if`), and bytes without names cannot say so",
            self.name
        ))
    }
}

#[cold]
fn no_length<E: Error>(what: &str, attribute: &str) -> E {
    E::custom(format_args!("it has a {what} whose length is not known before it is written{attribute}"))
}

macro_rules! pass_on {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[inline(always)]
        fn $method(self, $($argument: $type),*) -> Result<S::Ok, S::Error> {
            self.0.$method($($argument),*)
        }
    )*};
}

impl<S: Serializer> Serializer for Refusing<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<S::SerializeSeq>;
    type SerializeTuple = Parts<S::SerializeTuple>;
    type SerializeTupleStruct = Parts<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<S::SerializeTupleVariant>;
    type SerializeMap = Parts<S::SerializeMap>;
    type SerializeStruct = Parts<S::SerializeStruct>;
    type SerializeStructVariant = Parts<S::SerializeStructVariant>;

    pass_on! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_f32(value: f32);
        serialize_f64(value: f64);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    #[inline(always)]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Strict(value))
    }

    #[inline(always)]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &Strict(value))
    }

    #[inline(always)]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_variant(name, index, variant, &Strict(value))
    }

    #[inline(always)]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        match len {
            Some(_) => Parts::of("sequence", self.0.serialize_seq(len)),
            None => Err(no_length("sequence", "")),
        }
    }

    #[inline(always)]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        Parts::of("tuple", self.0.serialize_tuple(len))
    }

    #[inline(always)]
    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        Parts::of(name, self.0.serialize_tuple_struct(name, len))
    }

    #[inline(always)]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        Parts::of(variant, self.0.serialize_tuple_variant(name, index, variant, len))
    }

    #[inline(always)]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        match len {
            Some(_) => Parts::of("map", self.0.serialize_map(len)),
            None => Err(no_length("map", ", as serde's `flatten` makes one")),
        }
    }

    #[inline(always)]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        Parts::of(name, self.0.serialize_struct(name, len))
    }

    #[inline(always)]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        Parts::of(variant, self.0.serialize_struct_variant(name, index, variant, len))
    }

    #[inline(always)]
    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! parts {
    ($($kind:ident { $($method:ident($($key:ident: $type:ty)?))* $(, $skip:ident)? })*) => {$(
        impl<S: $kind> $kind for Parts<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            $(
                #[inline(always)]
                fn $method<T: Serialize + ?Sized>(&mut self, $($key: $type,)? value: &T) -> Result<(), S::Error> {
                    self.to.$method($($key,)? &Strict(value))
                }
            )*

            $(
                fn $skip(&mut self, field: &'static str) -> Result<(), S::Error> {
                    Err(self.left_out(field))
                }
            )?

            #[inline(always)]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.to.end()
            }
        }
    )*};
}

parts! {
    SerializeSeq { serialize_element() }
    SerializeTuple { serialize_element() }
    SerializeTupleStruct { serialize_field() }
    SerializeTupleVariant { serialize_field() }
    SerializeMap { serialize_key() serialize_value() }
    SerializeStruct { serialize_field(key: &'static str), skip_field }
    SerializeStructVariant { serialize_field(key: &'static str), skip_field }
}
