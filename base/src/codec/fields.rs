//! Compares what a value shows to serde with what its decoder asks for. A field with `#[serde(skip)]` appears in no
//! call of either, but it takes bytes in the value's memory. The serializer sees where the fields lie, and the decoder
//! how large the whole value is (`watch`).

use super::watch::{Seen, Struct};
use serde::Serialize;
use serde::ser::{self, Serializer};
use std::any::type_name;
use std::collections::BTreeSet;
use std::fmt;

/// What a value shows to serde.
#[derive(Debug, Default)]
pub(super) struct Shown {
    structs: BTreeSet<Shape>,
    /// The name of each enum in the value, and that of its variant.
    variants: Vec<(&'static str, &'static str)>,
}

/// A struct, or a variant with fields, as a value shows it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    /// The name of the struct or of the enum.
    name: &'static str,
    variant: Option<&'static str>,
    fields: Vec<&'static str>,
    /// From the first byte of the field that is first in memory to the last byte of the last field. `None` if the
    /// fields do not lie side by side: a `Serialize` may show something that it made for this call.
    span: Option<usize>,
    /// The bytes between two fields that cannot be padding.
    hole: usize,
}

impl Shown {
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let mut shown = Shown::default();
        // What this serializer refuses, the encoding reports.
        let _ = value.serialize(Look(&mut shown));
        shown
    }

    /// A field of the value, decoded as `seen`, that serde is not shown. A field smaller than the padding of its struct
    /// is not found, nor one that lies at either end of a variant's fields.
    pub(super) fn unseen(&self, seen: &Seen) -> Option<String> {
        let lost = |bytes: usize, name: &str| {
            Some(format!("loses {bytes} bytes of `{name}`: a field that serde is not shown (`#[serde(skip)]`)"))
        };
        for read in seen.structs() {
            let written = |shape: &&Shape| {
                shape.variant.is_none() && shape.name == read.name && shape.fields.len() == read.parts.len()
            };
            if let Some(bytes) = read.unread()
                && self.structs.iter().filter(written).any(|shape| shape.span.is_some_and(|span| span <= read.size))
            {
                return lost(bytes, read.name);
            }
        }
        let torn = self.structs.iter().find(|shape| {
            let size = seen.enum_size(shape.name).filter(|_| shape.variant.is_some());
            shape.hole > 0 && shape.span.zip(size).is_some_and(|(span, size)| span <= size)
        });
        torn.and_then(|shape| lost(shape.hole, &format!("{}::{}", shape.name, shape.variant.unwrap_or_default())))
    }

    /// A field that is written and not read, or read and not written, for a value whose decoding as `seen` failed.
    pub(super) fn unlike(&self, seen: &Seen) -> Option<String> {
        let differs = |read: &Struct| {
            let written = self.structs.iter().find(|shape| shape.variant.is_none() && shape.name == read.name)?;
            if read.fields.is_empty() || written.fields == read.fields {
                return None;
            }
            let told = |field: &str, how: &str| format!("the field `{field}` of `{}` is {how}", read.name);
            let unread = written.fields.iter().find(|field| !read.fields.contains(field));
            let unwritten = read.fields.iter().find(|field| !written.fields.contains(field));
            let unread = unread.map(|field| told(field, "written and not read (serde's `skip_deserializing`)"));
            unread.or_else(|| unwritten.map(|field| told(field, "read and not written (serde's `skip_serializing`)")))
        };
        seen.structs().find_map(differs)
    }

    /// A variant that came back from its bytes as another one.
    pub(super) fn changed(&self, back: &Shown) -> Option<String> {
        let (was, is) = self.variants.iter().zip(&back.variants).find(|(was, is)| was != is)?;
        let sorted = |shown: &Shown| {
            let mut variants = shown.variants.clone();
            variants.sort_unstable();
            variants
        };
        // A hash map may come back in another order.
        (sorted(self) != sorted(back)).then(|| {
            format!(
                "comes back as another value: `{}::{}` as `{}::{}`, since it or a variant before it is not read (serde's \
                 `skip` or `skip_deserializing`)",
                was.0, was.1, is.0, is.1
            )
        })
    }

    /// Whether the value contains an enum.
    pub(super) fn has_variants(&self) -> bool {
        !self.variants.is_empty()
    }
}

/// Why the look at a value ended early.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it cannot be written")
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Refused
    }
}

/// Looks at a value and writes nothing.
struct Look<'a>(&'a mut Shown);

impl<'a> Look<'a> {
    fn variant(self, name: &'static str, variant: &'static str) -> Self {
        self.0.variants.push((name, variant));
        self
    }

    fn fields(self, name: &'static str, variant: Option<&'static str>, len: usize) -> Fields<'a> {
        let (names, places) = (Vec::with_capacity(len), Vec::with_capacity(len));
        Fields { shown: self.0, shape: Some((name, variant)), names, places, all: true }
    }

    /// Something that has items and no fields.
    fn items(self) -> Fields<'a> {
        Fields { shown: self.0, shape: None, names: Vec::new(), places: Vec::new(), all: false }
    }
}

/// Where a field lies.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    size: usize,
    align: usize,
}

/// The fields of a struct or variant, as the value shows them.
struct Fields<'a> {
    shown: &'a mut Shown,
    shape: Option<(&'static str, Option<&'static str>)>,
    names: Vec<&'static str>,
    places: Vec<Place>,
    /// Whether the places of all fields that have a size are known.
    all: bool,
}

impl Fields<'_> {
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        if self.shape.is_some() {
            self.names.push(name);
            // What serde's `serialize_with` makes of a field does not lie in the struct.
            if type_name::<T>().contains("__SerializeWith") {
                self.all = false;
            } else if size_of_val(value) > 0 {
                let start = std::ptr::from_ref(value).cast::<()>().addr();
                self.places.push(Place { start, size: size_of_val(value), align: align_of_val(value) });
            }
        }
        value.serialize(Look(self.shown))
    }

    fn ended(mut self) {
        let Some((name, variant)) = self.shape else { return };
        self.places.sort_unstable_by_key(|place| place.start);
        let (mut span, mut hole) = (Some(0), 0);
        for pair in self.places.windows(2) {
            let (end, next) = (pair[0].start + pair[0].size, pair[1]);
            if next.start < end {
                span = None;
            }
            hole += next.start.saturating_sub(end.next_multiple_of(next.align));
        }
        if let (Some(_), Some(first), Some(last)) = (span, self.places.first(), self.places.last()) {
            span = Some(last.start + last.size - first.start);
        }
        // A field whose place is not known may lie in a hole.
        let hole = if self.all { hole } else { 0 };
        self.shown.structs.insert(Shape { name, variant, fields: self.names, span, hole });
    }
}

macro_rules! nothing_in {
    ($($method:ident($($type:ty),*);)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<(), Refused> {
            Ok(())
        }
    )*};
}

impl<'a> Serializer for Look<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Fields<'a>;
    type SerializeTuple = Fields<'a>;
    type SerializeTupleStruct = Fields<'a>;
    type SerializeTupleVariant = Fields<'a>;
    type SerializeMap = Fields<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Fields<'a>;

    nothing_in! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Result<(), Refused> {
        self.variant(name, variant);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self.variant(name, variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Fields<'a>, Refused> {
        Ok(self.items())
    }

    fn serialize_tuple(self, _: usize) -> Result<Fields<'a>, Refused> {
        Ok(self.items())
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Fields<'a>, Refused> {
        Ok(self.fields(name, None, len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'a>, Refused> {
        Ok(self.variant(name, variant).fields(name, Some(variant), len))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'a>, Refused> {
        Ok(self.items())
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Fields<'a>, Refused> {
        Ok(self.fields(name, None, len))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'a>, Refused> {
        Ok(self.variant(name, variant).fields(name, Some(variant), len))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), Refused> {
        Ok(())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! fields {
    ($($kind:ident { $($method:ident($($key:ident: $type:ty)?))* })*) => {$(
        impl ser::$kind for Fields<'_> {
            type Ok = ();
            type Error = Refused;

            $(
                fn $method<T: Serialize + ?Sized>(&mut self, $($key: $type,)? value: &T) -> Result<(), Refused> {
                    let name: &[&str] = &[$($key)?];
                    self.field(name.first().copied().unwrap_or_default(), value)
                }
            )*

            fn end(self) -> Result<(), Refused> {
                self.ended();
                Ok(())
            }
        }
    )*};
}

fields! {
    SerializeSeq { serialize_element() }
    SerializeTuple { serialize_element() }
    SerializeTupleStruct { serialize_field() }
    SerializeTupleVariant { serialize_field() }
    SerializeMap { serialize_key() serialize_value() }
    SerializeStruct { serialize_field(key: &'static str) }
    SerializeStructVariant { serialize_field(key: &'static str) }
}

#[cfg(test)]
mod tests;
