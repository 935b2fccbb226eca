//! The heap memory of a value, as far as serde shows it: the elements of its containers, and the contents of its boxes.
//!
//! Serde does not show the spare capacity of strings and vectors. The budget detects it by the resident memory of the
//! process.

use serde::ser::{self, Serialize, Serializer};
use std::any::type_name;
use std::fmt;

/// The approximate overhead of an allocation.
const ALLOCATION: u64 = 16;

/// The approximate number of bytes that `value` points to. It is exact for vectors of numbers without spare capacity. A
/// string counts by its length.
pub(crate) fn heap_bytes<T: Serialize + ?Sized>(value: &T) -> u64 {
    let mut heap = Heap(0);
    heap.place(value);
    heap.0
}

/// The approximate number of bytes that `value` takes, with what it points to.
pub(crate) fn bytes_of<T: Serialize>(value: &T) -> u64 {
    size_of::<T>() as u64 + if const { std::mem::needs_drop::<T>() } { heap_bytes(value) } else { 0 }
}

/// Adds up the memory outside the value. Each serializer call returns the least number of bytes inside the value.
struct Heap(u64);

impl Heap {
    /// Counts the parts of `value`, and returns its size. If its parts need more than this size, the value is a
    /// pointer, such as a box, and the parts are on the heap.
    fn place<T: Serialize + ?Sized>(&mut self, value: &T) -> u64 {
        let size = size_of_val(value) as u64;
        // A value that cannot be written is an error where it is written, not here.
        let inside = value.serialize(&mut *self).unwrap_or(0);
        if type_name::<T>().starts_with('&') {
            // Collections serialize references to their elements, so `size_of_val` is not the elements' size.
            return if inside > 4 { inside.next_multiple_of(8) } else { inside };
        }
        if inside > size {
            self.0 += inside + ALLOCATION;
        }
        size
    }
}

/// The error of a value that cannot be written.
#[derive(Debug)]
struct Unwritten;

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it cannot be written")
    }
}

impl std::error::Error for Unwritten {}

impl ser::Error for Unwritten {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Unwritten
    }
}

/// The parts of a value: on the heap, or inside the value.
struct Parts<'a> {
    heap: &'a mut Heap,
    bytes: u64,
    /// Whether they are entries of a hash table or a tree, about a third of which is empty.
    loose: bool,
    outside: bool,
}

impl Parts<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritten> {
        self.bytes += self.heap.place(value);
        Ok(())
    }

    fn done(self) -> Result<u64, Unwritten> {
        if !self.outside {
            return Ok(self.bytes);
        }
        if self.bytes > 0 {
            self.heap.0 += self.bytes + if self.loose { self.bytes / 2 } else { 0 } + ALLOCATION;
        }
        // The size of a pointer and a length.
        Ok(16)
    }
}

macro_rules! plain {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, _: $type) -> Result<u64, Unwritten> {
            Ok(size_of::<$type>() as u64)
        }
    )*};
}

impl<'a> Serializer for &'a mut Heap {
    type Ok = u64;
    type Error = Unwritten;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    plain!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_f32: f32, serialize_f64: f64, serialize_char: char
    );

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_str(self, text: &str) -> Result<u64, Unwritten> {
        self.serialize_bytes(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<u64, Unwritten> {
        self.0 += bytes.len() as u64;
        Ok(16)
    }

    fn serialize_none(self) -> Result<u64, Unwritten> {
        Ok(0)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<u64, Unwritten> {
        Ok(self.place(value))
    }

    fn serialize_unit(self) -> Result<u64, Unwritten> {
        Ok(0)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<u64, Unwritten> {
        Ok(0)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<u64, Unwritten> {
        Ok(0)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<u64, Unwritten> {
        Ok(self.place(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<u64, Unwritten> {
        Ok(self.place(value))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Unwritten> {
        Ok(Parts { heap: self, bytes: 0, loose: false, outside: true })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Unwritten> {
        Ok(Parts { heap: self, bytes: 0, loose: true, outside: true })
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Unwritten> {
        Ok(Parts { heap: self, bytes: 0, loose: false, outside: false })
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Parts<'a>, Unwritten> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Parts<'a>, Unwritten> {
        self.serialize_tuple(len)
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Parts<'a>, Unwritten> {
        self.serialize_tuple(len)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Parts<'a>, Unwritten> {
        self.serialize_tuple(len)
    }
}

macro_rules! parts {
    ($($kind:ident: $method:ident($($key:ty)?)),*) => {$(
        impl ser::$kind for Parts<'_> {
            type Ok = u64;
            type Error = Unwritten;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Result<(), Unwritten> {
                self.add(value)
            }

            fn end(self) -> Result<u64, Unwritten> {
                self.done()
            }
        }
    )*};
}
parts!(
    SerializeSeq: serialize_element(), SerializeTuple: serialize_element(), SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(), SerializeStruct: serialize_field(&'static str),
    SerializeStructVariant: serialize_field(&'static str)
);

impl ser::SerializeMap for Parts<'_> {
    type Ok = u64;
    type Error = Unwritten;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritten> {
        self.add(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritten> {
        self.add(value)
    }

    fn end(self) -> Result<u64, Unwritten> {
        self.done()
    }
}

#[cfg(test)]
mod tests {
    use super::heap_bytes;
    use serde::Serialize;
    use std::collections::{BTreeMap, HashMap, VecDeque};

    #[derive(Serialize)]
    enum Tree {
        Leaf,
        Node(Box<(Tree, u64, Tree)>),
    }

    #[test]
    fn elements_and_boxes_count_as_what_they_take() {
        assert_eq!(heap_bytes(&(1u64, 2u8, Some(3u32), [7u64; 9], ())), 0);
        // In bincode each of these numbers takes one byte.
        assert_eq!(heap_bytes(&vec![1u64; 1000]), 8000 + 16);
        assert_eq!(heap_bytes(&VecDeque::from(vec![(1u64, 1u8); 100])), 1600 + 16);
        assert_eq!(heap_bytes(&vec![7u8; 1000]), 1000 + 16);
        assert_eq!(heap_bytes(&vec![vec![1u32; 10]; 5]), 5 * (16 + 40 + 16) + 16);
        assert_eq!(heap_bytes(&Box::new([[1u64; 10]; 10])), 800 + 16);
        assert_eq!(heap_bytes(&Some(Box::new((1u64, 2u64)))), 16 + 16);
        assert_eq!(heap_bytes(&vec!["four".to_string(); 3]), 3 * (16 + 4) + 16);
        assert_eq!(heap_bytes(&Vec::<u64>::new()), 0);
        assert_eq!(heap_bytes(&vec![(); 1000]), 0);
        let pairs = (0..100u64).map(|n| (n, n));
        assert_eq!(heap_bytes(&pairs.clone().collect::<HashMap<_, _>>()), 2400 + 16);
        assert_eq!(heap_bytes(&pairs.collect::<BTreeMap<_, _>>()), 2400 + 16);
        let node = |left, right| Tree::Node(Box::new((left, 1, right)));
        let tree = node(node(Tree::Leaf, Tree::Leaf), Tree::Leaf);
        assert_eq!(heap_bytes(&tree), 2 * (size_of::<(Tree, u64, Tree)>() as u64 + 16));
    }
}
