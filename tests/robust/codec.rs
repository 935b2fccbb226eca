//! The codec on arbitrary bytes: no panic, no hang, no allocation beyond its limit; and written values come back.

use crate::child::{Process, role};
use crate::support::mix;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use tryworks::Str;
use tryworks_base::codec::{decode, encode, encoded_len, prove_carried};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Catch {
    Nothing,
    Whale { name: String, barrels: Option<u16> },
    Boat(Box<Catch>, [u8; 4]),
    Many(Vec<Catch>),
}

fn catch() -> impl Strategy<Value = Catch> {
    let leaf = prop_oneof![
        Just(Catch::Nothing),
        (any::<String>(), any::<Option<u16>>()).prop_map(|(name, barrels)| Catch::Whale { name, barrels }),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            (inner.clone(), any::<[u8; 4]>()).prop_map(|(catch, mark)| Catch::Boat(Box::new(catch), mark)),
            prop::collection::vec(inner, 0..4).prop_map(Catch::Many),
        ]
    })
}

type Numbers = (u8, i16, u32, i64, u128, bool, char);
type Nested = BTreeMap<String, Vec<Option<(u64, BTreeSet<i8>)>>>;

fn nested() -> impl Strategy<Value = Nested> {
    let set = prop::collection::btree_set(any::<i8>(), 0..5);
    let list = prop::collection::vec(prop::option::of((any::<u64>(), set)), 0..5);
    prop::collection::btree_map(any::<String>(), list, 0..5)
}

/// A value comes back from its bytes, even if others follow, and not if some are missing.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let mut bytes = b"before".to_vec();
    encode(value, &mut bytes).unwrap();
    let len = bytes.len() - 6;
    assert_eq!(encoded_len(value), len);
    prove_carried(value).unwrap();
    for cut in (0..len).step_by(len / 64 + 1) {
        assert!(decode::<T>(&bytes[6..6 + cut]).is_err(), "cut off at {cut} of {len}");
    }
    bytes.extend(b"after");
    let (back, taken) = decode::<T>(&bytes[6..]).unwrap();
    assert_eq!((&back, taken), (value, len));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn encoded_values_are_decoded_unchanged(
        numbers in any::<Numbers>(),
        nested in nested(),
        text in any::<String>(),
        catch in catch(),
        float in any::<u64>(),
    ) {
        comes_back(&numbers);
        comes_back(&nested);
        comes_back(&(text.clone(), Str::from(text.as_str())));
        comes_back(&catch);
        comes_back(&nested.keys().cloned().zip(text.chars()).collect::<HashMap<_, _>>());
        // Every bit pattern of a float, whatever it means.
        let mut bytes = Vec::new();
        encode(&f64::from_bits(float), &mut bytes).unwrap();
        prop_assert_eq!(decode::<f64>(&bytes).unwrap().0.to_bits(), float);
    }
}

fn tried<T: DeserializeOwned>(bytes: &[u8]) -> u32 {
    match decode::<T>(bytes) {
        Ok((_, taken)) => {
            assert!(taken <= bytes.len());
            0
        }
        Err(_) => 1,
    }
}

#[test]
fn random_bytes_are_errors_or_values() {
    if role().is_none() {
        Process::start("codec::random_bytes_are_errors_or_values", "child").ends_well();
        return;
    }
    // Allocating more than the limit of one value fails, which ends the process.
    let most = rustix::process::Rlimit { current: Some(3 << 30), maximum: Some(3 << 30) };
    rustix::process::setrlimit(rustix::process::Resource::As, most).unwrap();
    let mut refused = 0;
    for round in 0..20_000u64 {
        let len = mix(round) % 40;
        // These bytes mark large lengths, which follow in two, four, eight or sixteen bytes.
        let byte = |i| match mix(round * 64 + i) {
            n if n % 5 == 0 => 0xfb + (n >> 8) as u8 % 5,
            n => (n >> 16) as u8,
        };
        let bytes: Vec<u8> = (0..len).map(byte).collect();
        refused += tried::<Numbers>(&bytes);
        refused += tried::<Nested>(&bytes);
        refused += tried::<Catch>(&bytes);
        refused += tried::<(String, Vec<u8>, Str)>(&bytes);
        refused += tried::<Vec<Vec<String>>>(&bytes);
        refused += tried::<HashMap<u64, [u16; 3]>>(&bytes);
        refused += tried::<Vec<u128>>(&bytes);
        refused += tried::<(Option<Box<str>>, std::time::Duration, std::path::PathBuf)>(&bytes);
        refused += tried::<tryworks::Error>(&bytes);
    }
    assert!(refused > 20_000 && refused < 180_000, "{refused}");
    for power in 20..64 {
        let mut bytes = Vec::new();
        encode(&(1u64 << power), &mut bytes).unwrap();
        bytes.extend([1; 16]);
        assert_eq!(tried::<String>(&bytes), 1, "2^{power} bytes of text");
        assert_eq!(tried::<Vec<u64>>(&bytes), 1, "2^{power} numbers");
        assert_eq!(tried::<BTreeMap<u8, u8>>(&bytes), 1, "2^{power} pairs");
        assert_eq!(tried::<Vec<Catch>>(&bytes), 1, "2^{power} values");
    }
}
