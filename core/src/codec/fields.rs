//! Which part of a value serde is not shown: a field with `#[serde(skip)]` is in no call of its `Serialize`, but it is
//! in the value's memory, where nothing that was shown lies.

use serde::Serialize;
use serde::ser::{self, Serializer};
use std::fmt;

/// A field of `value`, or of a value in it, that serde is not shown; `None` if none was found. What is smaller than the
/// padding of its struct is not, nor what lies behind a pointer that serde does not show as one.
pub(super) fn unseen<T: Serialize + ?Sized>(value: &T) -> Option<String> {
    match value.serialize(Look::at(value)) {
        Err(Seen::Gap(message)) => Some(message),
        // What else it refuses, encoding it will tell.
        Ok(()) | Err(Seen::Other) => None,
    }
}

/// Why looking ended before the end of the value.
#[derive(Debug)]
enum Seen {
    Gap(String),
    Other,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Seen {}

impl ser::Error for Seen {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Seen::Other
    }
}

/// The memory of a value.
#[derive(Clone, Copy)]
struct Look {
    start: usize,
    size: usize,
    align: usize,
}

impl Look {
    fn at<T: ?Sized>(value: &T) -> Self {
        let start = std::ptr::from_ref(value).cast::<()>().addr();
        Look { start, size: size_of_val(value), align: align_of_val(value) }
    }

    fn end(self) -> usize {
        self.start + self.size
    }
}

/// The parts of a value that were shown.
struct Shown {
    name: &'static str,
    whole: Look,
    /// Empty for values whose memory is not looked at: there only the parts themselves are.
    parts: Option<Vec<Look>>,
}

impl Shown {
    fn inside(name: &'static str) -> Self {
        Shown { name, whole: Look { start: 0, size: 0, align: 1 }, parts: None }
    }

    fn fields(name: &'static str, whole: Look, len: usize) -> Self {
        // Its third field is not shown by serde itself; it is that of a range which has been used up.
        let known = name == "RangeInclusive";
        Shown { name, whole, parts: (!known).then(|| Vec::with_capacity(len)) }
    }

    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Seen> {
        if let Some(parts) = &mut self.parts {
            parts.push(Look::at(value));
        }
        value.serialize(Look::at(value))
    }

    /// Looks for what is in the value and in none of its parts. Padding is shorter than what the value is aligned to.
    fn ended(self) -> Result<(), Seen> {
        let Shown { name, whole, parts: Some(mut parts) } = self else { return Ok(()) };
        if parts.iter().any(|part| part.start < whole.start || part.end() > whole.end()) {
            // Its `Serialize` shows what it made for that.
            return Ok(());
        }
        parts.sort_unstable_by_key(|part| part.start);
        let mut from = whole.start;
        let ends = parts.iter().map(|part| (part.start, part.end())).chain([(whole.end(), whole.end())]);
        for (start, end) in ends {
            if start.saturating_sub(from) >= whole.align {
                return Err(Seen::Gap(format!(
                    "loses {} bytes of `{name}`: a field that serde is not shown (`#[serde(skip)]`)",
                    start - from
                )));
            }
            from = from.max(end);
        }
        Ok(())
    }
}

macro_rules! nothing_in {
    ($($method:ident($($type:ty),*);)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<(), Seen> {
            Ok(())
        }
    )*};
}

impl Serializer for Look {
    type Ok = ();
    type Error = Seen;
    type SerializeSeq = Shown;
    type SerializeTuple = Shown;
    type SerializeTupleStruct = Shown;
    type SerializeTupleVariant = Shown;
    type SerializeMap = Shown;
    type SerializeStruct = Shown;
    type SerializeStructVariant = Shown;

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
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Seen> {
        Shown::fields(name, self, 0).ended()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Seen> {
        value.serialize(Look::at(value))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Seen> {
        let mut shown = Shown::fields(name, self, 1);
        shown.part(value)?;
        shown.ended()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Seen> {
        value.serialize(Look::at(value))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Shown, Seen> {
        Ok(Shown::inside("sequence"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Shown, Seen> {
        Ok(Shown::inside("tuple"))
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Shown, Seen> {
        Ok(Shown::fields(name, self, len))
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, name: &'static str, _: usize) -> Result<Shown, Seen> {
        Ok(Shown::inside(name))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Shown, Seen> {
        Ok(Shown::inside("map"))
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Shown, Seen> {
        Ok(Shown::fields(name, self, len))
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, name: &'static str, _: usize) -> Result<Shown, Seen> {
        Ok(Shown::inside(name))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), Seen> {
        Ok(())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! shown {
    ($($kind:ident { $($method:ident($($key:ty)?))* })*) => {$(
        impl ser::$kind for Shown {
            type Ok = ();
            type Error = Seen;

            $(
                fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Result<(), Seen> {
                    self.part(value)
                }
            )*

            fn end(self) -> Result<(), Seen> {
                self.ended()
            }
        }
    )*};
}

shown! {
    SerializeSeq { serialize_element() }
    SerializeTuple { serialize_element() }
    SerializeTupleStruct { serialize_field() }
    SerializeTupleVariant { serialize_field() }
    SerializeMap { serialize_key() serialize_value() }
    SerializeStruct { serialize_field(&'static str) }
    SerializeStructVariant { serialize_field(&'static str) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashMap};
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    #[derive(Serialize, Default)]
    struct Whole {
        flag: bool,
        number: u64,
        word: Option<String>,
        place: (f32, u8),
    }

    #[derive(Serialize, Default, PartialEq)]
    struct Cached {
        number: u64,
        #[serde(skip)]
        cache: u64,
    }

    #[derive(Serialize)]
    #[repr(C)]
    struct Foreign(u8, u64, u8, u128, u8);

    #[derive(Serialize, PartialEq)]
    struct Pair(u32, #[serde(skip)] String);

    #[derive(Serialize)]
    enum Case {
        Whole(Whole),
        Cached { of: Cached },
        Nothing,
    }

    #[test]
    fn a_field_that_serde_is_not_shown_is_found_wherever_it_is() {
        let told = |gap: Option<String>, name: &str| {
            let gap = gap.unwrap();
            assert!(gap.contains(name) && gap.contains("serde(skip)"), "{gap}");
        };
        told(unseen(&Cached::default()), "8 bytes of `Cached`");
        told(unseen(&Pair(1, String::new())), "24 bytes of `Pair`");
        told(unseen(&vec![(1, Some(Cached::default()))]), "Cached");
        told(unseen(&BTreeMap::from([(1, Case::Cached { of: Cached::default() })])), "Cached");
        told(unseen(&Case::Cached { of: Cached::default() }), "Cached");
    }

    #[test]
    fn what_is_shown_whole_is_not_accused() {
        let (whole, some) = (Whole { word: Some("w".into()), ..Whole::default() }, Some(Whole::default()));
        assert_eq!(unseen(&(whole, some)), None);
        assert_eq!(unseen(&Foreign(1, 2, 3, 4, 5)), None);
        assert_eq!(unseen(&[Case::Nothing, Case::Whole(Whole::default())]), None);
        assert_eq!(
            unseen(&(Duration::from_secs(1), SystemTime::now(), 1..2, 1..=2, std::marker::PhantomData::<u64>)),
            None
        );
        assert_eq!(unseen(&(Box::new(Whole::default()), Arc::<str>::from("a"), HashMap::from([(1u8, "b")]))), None);
        assert_eq!(unseen(&(crate::Str::from("short"), std::num::Wrapping(7u8), ())), None);
        assert_eq!(unseen(&("text", std::cmp::Reverse(7u64), Ok::<u8, String>(1))), None);
    }
}
