//! Compares what a value shows to serde with what its decoder asks for. A field with `#[serde(skip)]` appears in no
//! call of either, but it takes bytes in the value's memory. The serializer sees where the fields lie, and the decoder
//! how large the whole value is (`watch`).

use super::watch::{Seen, Struct};
use std::collections::BTreeSet;

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

/// Records the structs and variants of a value while it is written.
#[derive(Debug, Default)]
pub(super) struct Look {
    shown: Shown,
    /// The structs that are being written, the innermost last.
    open: Vec<Open>,
}

/// Where a field lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    size: usize,
    align: usize,
}

/// A struct, or a variant, of which not all fields are written yet.
#[derive(Debug)]
struct Open {
    name: &'static str,
    variant: Option<&'static str>,
    names: Vec<&'static str>,
    places: Vec<Place>,
    /// Whether the places of all fields that have a size are known.
    all: bool,
}

impl Look {
    /// The structs and variants that were written.
    pub(super) fn shown(self) -> Shown {
        self.shown
    }

    #[cold]
    #[inline(never)]
    pub(super) fn variant(&mut self, name: &'static str, variant: &'static str) {
        self.shown.variants.push((name, variant));
    }

    /// A struct or a variant begins, with this number of fields.
    #[cold]
    #[inline(never)]
    pub(super) fn begin(&mut self, name: &'static str, variant: Option<&'static str>, len: usize) {
        let (names, places) = (Vec::with_capacity(len), Vec::with_capacity(len));
        self.open.push(Open { name, variant, names, places, all: true });
    }

    /// Its next field, of this type, is written. It lies at an address and has a size and an alignment.
    #[cold]
    #[inline(never)]
    pub(super) fn field(&mut self, name: &'static str, type_name: &str, [start, size, align]: [usize; 3]) {
        let Some(open) = self.open.last_mut() else { return };
        open.names.push(name);
        // What serde's `serialize_with` makes of a field does not lie in the struct.
        if type_name.contains("__SerializeWith") {
            open.all = false;
        } else if size > 0 {
            open.places.push(Place { start, size, align });
        }
    }

    /// All of its fields are written.
    #[cold]
    #[inline(never)]
    pub(super) fn end(&mut self) {
        let Some(Open { name, variant, names, mut places, all }) = self.open.pop() else { return };
        places.sort_unstable_by_key(|place| place.start);
        let (mut span, mut hole) = (Some(0), 0);
        for pair in places.windows(2) {
            let (end, next) = (pair[0].start + pair[0].size, pair[1]);
            if next.start < end {
                span = None;
            }
            hole += next.start.saturating_sub(end.next_multiple_of(next.align));
        }
        if let (Some(_), Some(first), Some(last)) = (span, places.first(), places.last()) {
            span = Some(last.start + last.size - first.start);
        }
        // A field whose place is not known may lie in a hole.
        let hole = if all { hole } else { 0 };
        self.shown.structs.insert(Shape { name, variant, fields: names, span, hole });
    }
}

#[cfg(test)]
mod tests;
