//! Fields that serde is not shown, in every container of the standard library.

#![allow(dead_code, reason = "fields are there to be skipped")]

use super::super::{encode_shown, seen_of};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet, LinkedList, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

fn unseen<T: Serialize + DeserializeOwned>(value: &T) -> Option<String> {
    let mut bytes = Vec::new();
    let shown = encode_shown(value, &mut bytes).unwrap();
    shown.unseen(&seen_of::<T>(&bytes).0)
}

#[derive(Serialize, Deserialize, Default)]
struct Whole {
    flag: bool,
    number: u64,
    word: Option<String>,
    place: (f32, u8),
}

#[derive(Serialize, Deserialize, Default, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Cached {
    number: u64,
    #[serde(skip)]
    cache: u64,
}

#[derive(Serialize, Deserialize)]
#[repr(C)]
struct Foreign(u8, u64, u8, u128, u8);

#[derive(Serialize, Deserialize)]
#[repr(C, align(64))]
struct Wide(u8, u16);

#[derive(Serialize, Deserialize)]
struct Pair(u32, #[serde(skip)] String);

#[derive(Serialize, Deserialize)]
struct Hidden {
    #[serde(skip)]
    all: u64,
}

#[derive(Serialize, Deserialize)]
struct Apart {
    #[serde(with = "apart")]
    number: u64,
    word: String,
    #[serde(skip)]
    cache: u32,
    #[serde(skip)]
    more: u32,
}

#[derive(Serialize, Deserialize)]
struct Plain {
    #[serde(with = "apart")]
    number: u64,
    word: String,
}

mod apart {
    pub(super) fn serialize<S: serde::Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&number.to_string())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text: String = serde::Deserialize::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
struct Of<T> {
    inner: T,
}

#[derive(Serialize, Deserialize)]
enum Case {
    Whole(Whole),
    Cached {
        of: Cached,
    },
    Torn {
        from: u64,
        #[serde(skip)]
        cache: u64,
        to: u64,
    },
    Small {
        flag: bool,
        number: u64,
        other: u16,
    },
    Nothing,
}

fn cached() -> Cached {
    Cached::default()
}

#[test]
fn a_field_that_serde_is_not_shown_is_found_in_every_container() {
    let told = |gap: Option<String>, name: &str| {
        let gap = gap.unwrap();
        assert!(gap.contains(name) && gap.contains("serde(skip)"), "{gap}");
    };
    told(unseen(&cached()), "8 bytes of `Cached`");
    told(unseen(&Pair(1, String::new())), "24 bytes of `Pair`");
    told(unseen(&Hidden { all: 1 }), "8 bytes of `Hidden`");
    told(unseen(&Apart { number: 1, word: "w".into(), cache: 2, more: 3 }), "8 bytes of `Apart`");
    told(unseen(&Case::Cached { of: cached() }), "Cached");
    told(unseen(&Case::Torn { from: 1, cache: 2, to: 3 }), "8 bytes of `Case::Torn`");
    told(unseen(&(1, cached())), "Cached");
    told(unseen(&[cached()]), "Cached");
    told(unseen(&vec![(1, Some(cached()))]), "Cached");
    told(unseen(&vec![cached()].into_boxed_slice()), "Cached");
    told(unseen(&VecDeque::from([cached()])), "Cached");
    told(unseen(&LinkedList::from([cached()])), "Cached");
    told(unseen(&HashSet::from([cached()])), "Cached");
    told(unseen(&std::collections::BTreeSet::from([cached()])), "Cached");
    told(unseen(&std::collections::BinaryHeap::from([cached()])), "Cached");
    told(unseen(&HashMap::from([(1, cached())])), "Cached");
    told(unseen(&BTreeMap::from([(cached(), Case::Nothing)])), "Cached");
    told(unseen(&Box::new(cached())), "Cached");
    told(unseen(&Some(Box::new(cached()))), "Cached");
    told(unseen(&Rc::new(cached())), "Cached");
    told(unseen(&Arc::new(cached())), "Cached");
    told(unseen(&Arc::<[Cached]>::from([cached()])), "Cached");
    told(unseen(&std::borrow::Cow::<'static, Cached>::Owned(cached())), "Cached");
    told(unseen(&std::cell::RefCell::new(cached())), "Cached");
    told(unseen(&Mutex::new(cached())), "Cached");
    told(unseen(&std::cmp::Reverse(cached())), "Cached");
    told(unseen(&Ok::<Cached, u8>(cached())), "Cached");
    told(unseen(&(cached()..cached())), "Cached");
    told(unseen(&std::ops::Bound::Included(cached())), "Cached");
    told(unseen(&Of { inner: Box::new(Of { inner: vec![cached()] }) }), "Cached");
}

#[test]
fn types_that_serialize_all_their_fields_are_not_reported() {
    let (whole, some) = (Whole { word: Some("w".into()), ..Whole::default() }, Some(Whole::default()));
    assert_eq!(unseen(&(whole, some)), None);
    assert_eq!(unseen(&Foreign(1, 2, 3, 4, 5)), None);
    assert_eq!(unseen(&Wide(1, 2)), None);
    assert_eq!(unseen(&Plain { number: 1, word: "w".into() }), None);
    let small = Case::Small { flag: true, number: 1, other: 2 };
    assert_eq!(unseen(&[Case::Nothing, Case::Whole(Whole::default()), small]), None);
    // Two types with the same name and different sizes.
    assert_eq!(unseen(&(Of { inner: 1u8 }, Of { inner: Of { inner: (1u64, "w".to_string()) } })), None);
    let std = (Duration::from_secs(1), SystemTime::now(), 1..2, 1..=2, std::marker::PhantomData::<u64>);
    assert_eq!(unseen(&(std, 1.., ..3)), None);
    assert_eq!(unseen(&(Box::new(Whole::default()), Arc::<str>::from("a"), HashMap::from([(1u8, 'b')]))), None);
    assert_eq!(unseen(&(std::num::Wrapping(7u8), ())), None);
    assert_eq!(unseen(&("text".to_string(), std::cmp::Reverse(7u64), Ok::<u8, String>(1))), None);
    assert_eq!(unseen(&("/a".parse::<std::net::IpAddr>().err().map(|_| 1), RefCell::new(1u16))), None);
}

#[derive(Serialize, Deserialize)]
struct Padded {
    number: u64,
    known: bool,
    #[serde(skip)]
    mark: bool,
}

#[derive(Serialize, Deserialize)]
enum Ends {
    Pair {
        from: u64,
        to: u64,
        #[serde(skip)]
        cache: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Through {
    number: u64,
    #[serde(skip)]
    cache: u64,
}

/// The guide says that these are not found. If one is found, change the guide.
#[test]
fn cases_that_are_not_found_are_those_in_the_guide() {
    assert_eq!(unseen(&Padded { number: 1, known: true, mark: true }), None);
    assert_eq!(unseen(&Ends::Pair { from: 1, to: 2, cache: 3 }), None);
    assert_eq!(unseen(&Through { number: 1, cache: 2 }), None);
}
