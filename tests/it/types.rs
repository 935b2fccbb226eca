//! Types of the program's that break what their traits promise: bytes that are not the value, keys that are not equal
//! to themselves.

use crate::attributes;
use crate::support::{cx, sorted};
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};
use tryworks::prelude::*;
use tryworks::{Builder, Site};

/// The name, the text and the place of an error that blames a type.
#[track_caller]
fn type_error<T>(result: Result<T>) -> (String, String, Option<Site>) {
    match result.map(drop) {
        Err(Error::Type { name, message, advice, site }) => (name, format!("{message}; {advice}"), site),
        Err(other) => panic!("not an error of a type: {other}"),
        Ok(()) => panic!("a type that cannot be carried went unnoticed"),
    }
}

fn context(checks: bool) -> Builder {
    Context::builder().threads(2).check_rows(checks).progress(false)
}

/// A field that is left out when it is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Sparse {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    more: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Boat { oars: u32 },
    Whale { barrels: u32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u64,
    #[serde(flatten)]
    more: Inner,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Inner {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OneWay {
    #[serde(skip_serializing)]
    secret: u8,
    id: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Refuses(#[serde(serialize_with = "refuse")] u64);

fn refuse<S: serde::Serializer>(_: &u64, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("this number is not for sale"))
}

#[test]
fn a_type_that_cannot_be_carried_is_named_on_the_first_run() -> Result<()> {
    for checks in [false, true] {
        let cx = context(checks).build()?;
        let sparse = |id: u64| Sparse { id, note: None, more: id };
        let either = |n: u64| if n < 5 { Either::Number(n) } else { Either::Text(n.to_string()) };
        let n = cx.range_in(0..10, 2);
        let first = line!() + 2;
        let told = [
            ("Sparse", "`note`", n.map(sparse).collect().map(drop)),
            ("Sparse", "`note`", n.map(sparse).distinct().count().map(drop)),
            ("Sparse", "`Sparse`", n.map(sparse).repartition(3).count().map(drop)),
            ("Sparse", "skip_serializing_if", n.map(sparse).sort_by(|sparse| sparse.id).count().map(drop)),
            ("Sparse", "`note`", n.key_by(|n| n % 2).map_values(sparse).group_by_key().count().map(drop)),
            ("Sparse", "`note`", n.key_by(|n| n % 2).map_values(sparse).reduce_by_key(|a, _| a).count().map(drop)),
            ("Sparse", "`note`", n.map(sparse).map(|key| (key, 1)).reduce_by_key(|a, b| a + b).count().map(drop)),
            ("Sparse", "`note`", n.key_by(|n| *n).map_values(sparse).join(&n.key_by(|n| *n)).count().map(drop)),
            ("Sparse", "`note`", n.key_by(|n| *n).join(&n.key_by(|n| *n).map_values(sparse)).count().map(drop)),
            ("Either", "`untagged`", n.map(either).collect().map(drop)),
            ("Either", "deserialize_any", n.map(either).repartition(2).count().map(drop)),
            ("Tagged", "`tag`", n.map(|_| Tagged::Boat { oars: 6 }).collect().map(drop)),
            ("Flat", "`flatten`", n.map(|id| Flat { id, more: Inner { name: "a".into() } }).collect().map(drop)),
            ("OneWay", "skip_serializing", n.map(|id| OneWay { secret: 1, id }).collect().map(drop)),
            ("Value", "serde_json", n.map(|n| serde_json::json!({ "n": n })).collect().map(drop)),
            ("Refuses", "this number is not for sale", n.map(Refuses).collect().map(drop)),
            ("Refuses", "this number is not for sale", n.map(Refuses).repartition(2).count().map(drop)),
        ];
        for (at, (name, what, result)) in told.into_iter().enumerate() {
            let (of, message, site) = type_error(result);
            assert!(of.contains(name) && message.contains(what), "case {at}: {of} {message}");
            let site = site.unwrap();
            assert_eq!((site.file, site.line), (file!(), first + at as u32), "the call is told");
        }
        // Values that stay inside one stage need no codec.
        assert_eq!(n.map(sparse).map(|sparse| sparse.id).sum()?, 45);
    }
    Ok(())
}

#[test]
fn a_later_row_that_cannot_be_carried_is_no_other_value() -> Result<()> {
    // The first rows have all their fields; the others are written only when memory is short.
    let sparse = |id: u64| Sparse { id, note: (id < 8000).then(|| "n".repeat(100)), more: id };
    let tight = context(false).memory(1 << 20).build()?;
    let rows = tight.range_in(0..100_000, 2).map(sparse);
    let (name, message, _) = type_error(rows.repartition(3).count());
    assert!(
        name.contains("Sparse") && message.contains("`note`") && message.contains("skip_serializing_if"),
        "{message}"
    );
    // Rows that have to be checked are, wherever they go.
    let checking = context(true).build()?;
    let rows = checking.range_in(0..20_000, 2).map(sparse);
    let first = line!() + 2;
    let told = [
        type_error(rows.repartition(3).count()),
        type_error(rows.sort_by(|row| row.id).count()),
        type_error(rows.distinct().count()),
        type_error(rows.key_by(|row| row.id % 100).group_by_key().count()),
        type_error(rows.collect()),
        type_error(rows.reduce(|_, b| b)),
        type_error(rows.persist(StorageLevel::MemoryAndDisk).count()),
        type_error(checking.parallelize((0..20_000).map(sparse)).count()),
    ];
    for (at, (_, message, site)) in told.into_iter().enumerate() {
        assert!(message.contains("`note` of `Sparse`"), "{message}");
        assert_eq!(site.map(|site| site.line), Some(first + at as u32));
    }
    Ok(())
}

/// The decoder has to find out what the value is, which it can do only if one is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sighting {
    id: u64,
    text: String,
    of: Option<Tagged>,
}

#[test]
fn a_row_that_cannot_be_decoded_is_no_lost_block() -> Result<()> {
    let tight = context(false).memory(1 << 20).max_attempts(4).build()?;
    let rows = tight.range_in(0..30_000, 3).map(|id| Sighting {
        id,
        text: "t".repeat(50),
        of: (id % 10_000 > 100).then_some(Tagged::Whale { barrels: 60 }),
    });
    let (name, message, site) = type_error(rows.key_by(|row| row.id % 100).group_by_key().count());
    assert!(name.contains("Sighting") && message.contains("`tag`"), "{name} {message}");
    assert_eq!(site.map(|site| site.file), Some(file!()));
    assert!(tight.memory().spilled() > 0);
    type_error(rows.repartition(4).count());
    type_error(rows.sort_by(|row| row.id).count());
    Ok(())
}

/// Has a field that serde is not shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Ranked {
    id: u64,
    #[serde(skip)]
    rank: u64,
}

/// Has a hidden field that is not larger than the padding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marked {
    id: u64,
    known: bool,
    #[serde(skip)]
    marked: bool,
}

#[test]
fn a_checked_row_loses_nothing_or_the_same_with_any_memory() -> Result<()> {
    let cx = context(true).build()?;
    let ranked = cx.range_in(0..100, 3).map(|id| Ranked { id, rank: id });
    for (name, message, _) in [
        type_error(ranked.repartition(2).count()),
        type_error(ranked.distinct().count()),
        type_error(ranked.sort_by(|row| row.id).count()),
        type_error(ranked.key_by(|row| row.id % 3).reduce_by_key(|a, _| a).count()),
        type_error(ranked.map(Some).collect()),
        type_error(ranked.max()),
    ] {
        assert!(name.contains("Ranked") && message.contains("loses 8 bytes of `Ranked`"), "{name} {message}");
    }
    // The program did not ask for checks, and memory is not short.
    assert_eq!(
        context(false).build()?.range(0..5).map(|id| Ranked { id, rank: id }).repartition(1).max()?.unwrap().rank,
        4
    );
    let marks = |cx: &Context| {
        let rows = cx.range_in(0..30_000, 3).map(|id| (id % 10, Marked { id, known: true, marked: true }));
        rows.group_by_key().map(|(_, rows)| rows.iter().filter(|row| row.marked).count() as u64).sum()
    };
    let tight = context(true).memory(1 << 20).build()?;
    assert_eq!((marks(&cx)?, marks(&tight)?), (0, 0));
    assert!(tight.memory().spilled() > 0);
    Ok(())
}

#[test]
fn types_with_unsupported_attributes_are_errors_on_threads() -> Result<()> {
    let (checking, trusting) = (context(true).build()?, context(false).build()?);
    attributes::of_checked_rows(&checking);
    attributes::of_anything(&checking);
    attributes::of_anything(&trusting);
    attributes::large_values_are_trusted(&trusting);
    Ok(())
}

/// A float as many programs write it: NaN is not equal to itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Number(f64);

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// Equal keys with hashes that differ.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Scattered(u64);

impl PartialEq for Scattered {
    fn eq(&self, other: &Self) -> bool {
        self.0 % 10 == other.0 % 10
    }
}

impl Eq for Scattered {}

impl Hash for Scattered {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[test]
fn keys_that_are_not_equal_as_they_should_lose_no_row() -> Result<()> {
    const ROWS: u64 = 4_000;
    let tight = context(false).memory(1 << 20).build()?;
    for cx in [&cx(), &tight] {
        let rows = cx.range_in(0..ROWS, 5).map(|n| (Number(if n % 3 == 0 { f64::NAN } else { (n % 50) as f64 }), n));
        let keyed = rows.map_values(|n| (1u64, n, "x".repeat(400)));
        let counted = keyed.reduce_by_key(|a, b| (a.0 + b.0, a.1 + b.1, b.2)).values().map(|row| (row.0, row.1));
        let (count, sum) = counted.reduce(|a, b| (a.0 + b.0, a.1 + b.1))?.unwrap();
        assert_eq!((count, sum), (ROWS, ROWS * (ROWS - 1) / 2));
        let grouped = rows.group_by_key().flat_map(|(_, rows)| rows);
        assert_eq!(sorted(grouped.collect()?), (0..ROWS).collect::<Vec<_>>());
        // A key that equals nothing appears once for each row, and matches nothing.
        assert_eq!(rows.keys().distinct().filter(|key| key.0.is_nan()).count()?, ROWS.div_ceil(3));
        assert_eq!(rows.join(&rows.keys().distinct().map(|key| (key, ()))).count()?, ROWS - ROWS.div_ceil(3));

        let rows = cx.range_in(0..ROWS, 5).map(|n| (Scattered(n % 1000), (n, "x".repeat(400))));
        let grouped = rows.group_by_key().flat_map(|(_, rows)| rows).map(|row| row.0);
        assert_eq!(sorted(grouped.collect()?), (0..ROWS).collect::<Vec<_>>());
    }
    assert!(tight.memory().spilled() > 0);
    Ok(())
}

/// Its code panics at a value.
#[derive(Clone, Debug)]
struct Fragile(u64);

/// The values at which writing, reading and dropping panic.
const AT: [u64; 3] = [555, 666, 777];

impl Serialize for Fragile {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        assert!(self.0 != AT[0], "cannot be written");
        to.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let number = u64::deserialize(from)?;
        assert!(number != AT[1], "cannot be read");
        Ok(Fragile(number))
    }
}

thread_local! {
    /// Whether the test itself drops values: that is no business of the context.
    static MAY_PANIC: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(self.0 != AT[2] || std::thread::panicking() || !MAY_PANIC.get(), "cannot be dropped");
    }
}

/// The panic came out of the call that made the dataset.
#[test]
fn a_type_that_panics_on_the_driver_is_an_error_of_the_action() {
    let cx = context(true).build().unwrap();
    let blamed = |error: Error, call: &str, why: &str| {
        let text = error.to_string();
        assert!(matches!(&error, Error::Plan { site, .. } if site.file.ends_with("types.rs")), "{error:?}");
        assert!(text.contains(&format!("code of a type that `{call}` was given panicked")), "{text}");
        assert!(text.contains(why) && text.contains("types.rs"), "{text}");
    };
    for (at, why) in AT.into_iter().zip(["cannot be written", "cannot be read", "cannot be dropped"]) {
        let rows = cx.parallelize((0..800).filter(|n| *n == at || !AT.contains(n)).map(Fragile));
        blamed(rows.count().unwrap_err(), "parallelize", why);
        MAY_PANIC.set(false);
        drop(rows);
        MAY_PANIC.set(true);
    }
    for (at, why) in AT.into_iter().zip(["cannot be written", "cannot be read"]) {
        let numbers = cx.range(0..10);
        blamed(numbers.with(Fragile(at)).map(|by, n| by.0 + n).sum().unwrap_err(), "with", why);
        let made = numbers.with_init(Fragile(at), |by| Ok::<_, Error>(by.0));
        blamed(made.map(|by, n| by + n).sum().unwrap_err(), "with_init", why);
        blamed(numbers.map(Fragile).fold(Fragile(at), |a, _| a).unwrap_err(), "fold", why);
        let folded = numbers.aggregate(Fragile(at), |a, _| a, |a, _| a);
        blamed(folded.unwrap_err(), "aggregate", why);
    }
    assert_eq!(cx.range(0..10).count().unwrap(), 10, "the context goes on");
}
