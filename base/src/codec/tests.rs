//! Pins the bytes of values, because journals, blocks and messages of other builds have to be readable.

use super::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Debug;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Whale {
    name: String,
    barrels: Option<u16>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Mark(u8);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Catch {
    Nothing,
    One(Whale),
    Pair(Mark, i32),
    Many { of: Vec<Catch> },
}

/// Asserts that the value has these bytes, and that these bytes decode to the value.
fn pinned<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, bytes: &[u8]) {
    let mut written = Vec::new();
    encode(&value, &mut written).unwrap();
    assert_eq!(written, bytes, "{value:?}");
    assert_eq!(encoded_len(&value), bytes.len(), "{value:?}");
    assert_eq!(decode_whole::<T>(bytes).unwrap(), value);
}

#[test]
fn an_integer_takes_as_few_bytes_as_it_needs() {
    pinned((0u64, 250u64), &[0, 250]);
    pinned((251u16, 65_535u64), &[251, 251, 0, 251, 255, 255]);
    pinned((65_536u32, u32::MAX), &[252, 0, 0, 1, 0, 252, 255, 255, 255, 255]);
    pinned(1u64 << 32, &[253, 0, 0, 0, 0, 1, 0, 0, 0]);
    pinned(u64::MAX, &[253, 255, 255, 255, 255, 255, 255, 255, 255]);
    pinned((1u128 << 64, 7u128), &[254, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    pinned((0i16, -1i32, 1i64, -126i64), &[0, 1, 2, 251, 251, 0]);
    pinned((i16::MIN, i32::MAX), &[251, 255, 255, 252, 254, 255, 255, 255]);
    pinned(i64::MIN, &[253, 255, 255, 255, 255, 255, 255, 255, 255]);
    let mut longest = [255; 17];
    longest[0] = 254;
    pinned(i128::MIN, &longest);
    pinned((255u8, -1i8, true, false), &[255, 255, 1, 0]);
}

#[test]
fn other_values_are_the_bytes_of_their_parts() {
    pinned((1.5f32, -2.0f64), &[0, 0, 192, 63, 0, 0, 0, 0, 0, 0, 0, 192]);
    pinned(('a', '\u{e9}', '\u{20ac}', '\u{1f433}'), &[97, 195, 169, 226, 130, 172, 240, 159, 144, 179]);
    pinned(("\u{e9}".to_string(), ()), &[2, 195, 169]);
    pinned((None::<u8>, Some(1u8), [1u8, 2]), &[0, 1, 1, 1, 2]);
    pinned(vec![1u16, 300], &[2, 1, 251, 44, 1]);
    pinned(BTreeMap::from([(1u8, Mark(2)), (3, Mark(4))]), &[2, 1, 2, 3, 4]);
    pinned(serde_bytes::ByteBuf::from(vec![7; 3]), &[3, 7, 7, 7]);
    pinned(Catch::Nothing, &[0]);
    pinned(Catch::One(Whale { name: "w".into(), barrels: Some(300) }), &[1, 1, 119, 1, 251, 44, 1]);
    pinned(Catch::Many { of: vec![Catch::Pair(Mark(9), -2), Catch::Nothing] }, &[3, 2, 2, 9, 3, 0]);
}

#[test]
fn the_counted_length_is_the_written_length() {
    for len in [0, 1, 200, 254, 255, 256, 257, 70_000] {
        let value = (vec![1u8; len], "w".repeat(len), vec![u64::MAX; len / 8]);
        let mut written = Vec::new();
        encode(&value, &mut written).unwrap();
        assert_eq!(encoded_len(&value), written.len());
        assert!(is_within(&value, written.len()) && !is_within(&value, written.len() - 1));
    }
}

#[test]
fn an_error_says_what_is_wrong_with_the_bytes() {
    fn wrong<T: DeserializeOwned + Debug>(bytes: &[u8], what: &str) {
        let error = decode::<T>(bytes).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    wrong::<u64>(&[253, 1, 2], "the bytes end too early: at least 6 are missing");
    wrong::<u16>(&[252, 0, 0, 1, 0], "too large");
    wrong::<u64>(&[254], "too large");
    wrong::<bool>(&[2], "a flag is 2");
    wrong::<String>(&[3, b'a'], "at least 2 are missing");
    wrong::<String>(&[253, 255, 255, 255, 255, 255, 255, 255, 255], "end too early");
    wrong::<String>(&[1, 255], "UTF-8");
    wrong::<char>(&[0x80], "character");
    wrong::<char>(&[0xed, 0xa0, 0x80], "character");
    wrong::<Catch>(&[4], "variant index");
    wrong::<Whale>(&[1, b'w', 7], "at the field `barrels` of `Whale`");
}

mod before {
    #[derive(serde::Deserialize)]
    pub struct Row {
        pub _name: String,
        pub _tags: Vec<Option<Tag>>,
    }

    #[derive(serde::Deserialize)]
    pub struct Tag {
        pub _at: u64,
    }
}

mod after {
    #[derive(serde::Deserialize)]
    pub struct Row {
        pub _name: String,
        pub _tags: Vec<Option<Tag>>,
    }

    #[derive(serde::Deserialize)]
    pub struct Tag {
        pub _when: u64,
    }
}

#[test]
fn the_shape_of_a_type_is_that_of_all_that_it_contains() {
    // The same names, as in two versions of one program.
    let unplaced = |names: Vec<&'static str>| -> Vec<_> {
        names.into_iter().map(|name| name.replace("::before::", "::").replace("::after::", "::")).collect()
    };
    let (before, after) = (unplaced(shape_of::<before::Row>()), unplaced(shape_of::<after::Row>()));
    assert_eq!(before, unplaced(shape_of::<before::Row>()));
    assert_eq!(before[..2], after[..2]);
    assert_ne!(before, after);
    // What is not reached is not waited for.
    #[derive(serde::Deserialize)]
    struct List {
        _next: Option<Box<List>>,
    }
    assert!(shape_of::<List>().len() > 100);
}
