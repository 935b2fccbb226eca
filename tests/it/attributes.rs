//! What serde's attributes do to values that travel: each fault is reported, on threads and on a cluster alike.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tryworks::prelude::*;

/// Has a field that serde is not shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Skips {
    a: u64,
    #[serde(skip)]
    b: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SkipsText {
    #[serde(skip)]
    text: String,
    a: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Torn {
    Pair {
        a: u64,
        #[serde(skip)]
        b: u64,
        c: u64,
    },
}

/// Its variants have other numbers when they are read.
#[allow(dead_code, reason = "the variant is there to be skipped")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Shifted {
    #[serde(skip)]
    Hidden,
    B,
    C,
    D,
}

#[allow(dead_code, reason = "as above")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    #[serde(skip)]
    Line(u64),
    Round {
        radius: u64,
    },
    Square {
        side: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum OneWay {
    #[serde(skip_serializing)]
    Never,
    Ever,
    #[serde(skip_deserializing)]
    Once,
    Last,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SkipsIf {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Holds {
    id: u64,
    either: Vec<Untagged>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unread {
    a: u64,
    #[serde(skip_deserializing)]
    secret: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unwritten {
    #[serde(skip_serializing)]
    secret: u64,
    a: u64,
}

fn skips(a: u64) -> Skips {
    Skips { a, b: 7 }
}

fn unread(a: u64) -> Unread {
    Unread { a, secret: 7 }
}

fn shifted(n: u64) -> Shifted {
    if n.is_multiple_of(2) { Shifted::B } else { Shifted::C }
}

/// A fault of a type, and the action that reports it.
type Case = (&'static str, &'static str, Result<()>);

/// Checks each error for the type, the field and the attribute, and for its place. The first case is in line `first` of
/// this file, and each case has a line of its own.
fn told(first: u32, cases: Vec<Case>) {
    for (line, (of, what, result)) in (first..).zip(cases) {
        match result {
            Err(Error::Type { name, message, site: Some(site), .. }) => {
                // The type itself: neither the vector that contains it, nor a type of the library's.
                assert!(name.contains(of) && !name.contains("tryworks_"), "line {line}: {name} {message}");
                assert!(message.contains(what), "line {line}: {name} {message}");
                assert_eq!((site.file, site.line), (file!(), line), "{message}");
            }
            other => panic!("line {line}: not an error of a type: {other:?}"),
        }
    }
}

/// Faults that a context reports if it checks every row.
pub fn of_checked_rows(cx: &Context) {
    let n = cx.range(0..3);
    let lost = "8 bytes of `Skips`";
    #[rustfmt::skip]
    told(line!() + 1, vec![
        ("Skips", lost, n.map(skips).collect().map(drop)),
        ("Skips", lost, n.map(skips).take(2).map(drop)),
        ("Skips", lost, n.map(skips).first().map(drop)),
        ("Skips", lost, n.map(|n| vec![skips(n)]).first().map(drop)),
        ("Skips", lost, n.map(skips).take_ordered_by(1, |row| row.a).map(drop)),
        ("Skips", lost, n.map(skips).reduce(|a, _| a).map(drop)),
        ("Skips", lost, n.map(skips).max().map(drop)),
        ("Skips", lost, n.aggregate(None, |_, n| Some(Box::new(skips(n))), |a, b| a.or(b)).map(drop)),
        ("Skips", lost, n.map(skips).repartition(2).count().map(drop)),
        ("Skips", lost, n.map(skips).sort_by(|row| row.a).count().map(drop)),
        ("Skips", lost, n.map(skips).distinct().count().map(drop)),
        ("Skips", lost, n.map(|n| (n, vec![skips(n)])).group_by_key().count().map(drop)),
        ("Skips", lost, n.map(|n| (n, vec![skips(n)])).group_by_key().map(|(_, rows)| rows).collect().map(drop)),
        ("Skips", lost, n.map(|n| (n, Box::new(skips(n)))).reduce_by_key(|a, _| a).count().map(drop)),
        ("Skips", lost, n.map(|n| (n, Arc::new(skips(n)))).join(&n.key_by(|n| *n)).count().map(drop)),
        ("Skips", lost, n.map(|n| Some(Box::new(skips(n)))).collect().map(drop)),
        ("Skips", lost, n.map(|n| HashMap::from([(n, skips(n))])).collect().map(drop)),
        ("Skips", lost, n.map(|n| BTreeMap::from([(skips(n), n)])).repartition(1).count().map(drop)),
        ("Skips", lost, n.map(skips).persist(StorageLevel::Disk).count().map(drop)),
        ("Skips", lost, cx.parallelize([1, 2].map(skips)).count().map(drop)),
        ("SkipsText", "24 bytes of `SkipsText`", n.map(|a| SkipsText { a, text: "t".into() }).collect().map(drop)),
        ("Torn", "8 bytes of `Torn::Pair`", n.map(|a| Torn::Pair { a, b: 7, c: a }).collect().map(drop)),
        ("Shifted", "`Shifted::B` as `Shifted::C`", n.map(|n| if n < 2 { Shifted::B } else { Shifted::C }).collect().map(drop)),
    ]);
}

/// Faults that every context reports.
pub fn of_anything(cx: &Context) {
    let n = cx.range_in(0..3, 1);
    let lost = "8 bytes of `Skips`";
    let (without, note) =
        (SkipsIf { id: 1, note: None }, "`note` of `SkipsIf` is left out (serde's `skip_serializing_if`)");
    let (json, either) = (serde_json::json!({ "n": 1 }), || Untagged::Number(1));
    let holds = |id: u64| Holds { id, either: vec![either()] };
    let (secret, unwritten) =
        ("`secret` of `Unread` is written and not read", "`secret` of `Unwritten` is read and not");
    let hides = |n: u64| Unwritten { secret: 7, a: n };
    #[rustfmt::skip]
    told(line!() + 1, vec![
        ("Skips", lost, n.with(skips(1)).map(|w, n| n + w.b).sum().map(drop)),
        ("Skips", lost, n.with(vec![Some(Box::new(skips(1)))]).filter(|_, _| true).count().map(drop)),
        ("Skips", lost, n.with((1, skips(1))).for_each(|_, _| ())),
        ("Skips", lost, n.with(skips(1)).take_ordered_by(1, |w, n| n ^ w.b).map(drop)),
        ("Skips", lost, n.map(|n| (n, n)).with(skips(1)).reduce_by_key(|w, a, b| a + b + w.b).count().map(drop)),
        ("Skips", lost, n.with_init(skips(1), |w| Ok::<_, UserError>(w.b)).map(|b, n| n + b).sum().map(drop)),
        ("Skips", lost, n.map(skips).fold(skips(1), |a, _| a).map(drop)),
        ("Skips", lost, n.aggregate(vec![skips(1)], |a, _| a, |a, _| a).map(drop)),
        ("Shifted", "`Shifted::B` as `Shifted::C`", n.with(Shifted::B).map(|w, _| format!("{w:?}")).collect().map(drop)),
        ("SkipsIf", note, n.with(without.clone()).map(|w, n| w.id + n).sum().map(drop)),
        ("Untagged", "`untagged`", n.with(Untagged::Text("t".into())).map(|_, n| n).sum().map(drop)),
        ("Value", "serde_json", n.with(json).map(|w, n| w["n"].as_u64().unwrap_or(0) + n).sum().map(drop)),
        ("Shifted", "`Shifted::B` as `Shifted::C`", n.map(shifted).collect().map(drop)),
        ("Shifted", "`Shifted::B` as `Shifted::C`", n.map(shifted).repartition(2).collect().map(drop)),
        ("Shape", "`Shape::Round`", n.map(|radius| Shape::Round { radius }).sort_by(|_| 1).collect().map(drop)),
        ("OneWay", "OneWay::Never cannot be serialized", n.map(|_| OneWay::Never).collect().map(drop)),
        ("OneWay", "`OneWay::Once` as `OneWay::Last`", n.map(|_| OneWay::Once).repartition(1).count().map(drop)),
        ("OneWay", "expected variant index 0 <= i < 3", n.with(OneWay::Last).map(|_, n| n).sum().map(drop)),
        ("Unread", secret, cx.parallelize([1, 2].map(unread)).collect().map(drop)),
        ("Unread", secret, cx.parallelize([1, 2].map(unread)).map(|row| row.a).sum().map(drop)),
        ("Unread", secret, n.map(unread).map(|row| (row.a, row)).group_by_key().count().map(drop)),
        ("Unread", secret, n.with(unread(1)).map(|w, n| w.a + n).sum().map(drop)),
        ("Unwritten", unwritten, cx.parallelize([1, 2].map(hides)).map(|row| row.a).sum().map(drop)),
        ("Unwritten", unwritten, n.map(|n| Unwritten { secret: 7, a: n }).repartition(2).count().map(drop)),
        ("SkipsIf", note, cx.parallelize([without]).map(|row| row.id).sum().map(drop)),
        ("Untagged", "untagged", n.map(|_| Untagged::Number(1)).take(1).map(drop)),
        ("Untagged", "untagged", n.map(|_| Untagged::Number(1)).reduce(|a, _| a).map(drop)),
        ("Holds", "at the field `either` of `Holds`", cx.parallelize([holds(1)]).count().map(drop)),
        ("Outer", "at the field `either` of `Holds`", n.map(outer).collect().map(drop)),
    ]);
    // Values without a fault travel.
    let given = n.with((Some("t".to_string()), Shape::Dot)).map(|(text, _), n| n + text.iter().count() as u64);
    assert_eq!(given.sum().unwrap(), 6);
    assert!(n.map(|_| OneWay::Ever).collect().unwrap().iter().all(|way| *way == OneWay::Ever));
}

/// Faults that threads overlook if they check no row, since the values are large.
#[allow(dead_code, reason = "on a cluster these are told or lost")]
pub fn large_values_are_trusted(cx: &Context) {
    let rows = |n: usize| (0..n as u64).map(skips).collect::<Vec<_>>();
    let n = cx.range_in(0..3, 1);
    assert!(n.with(rows(100_000)).map(|rows, n| n + rows[0].b).sum().is_err(), "it is less than a mebibyte");
    assert_eq!(n.with(rows(500_000)).map(|rows, n| n + rows[0].b).sum().unwrap(), 24);
    let texts = |n: usize| vec![Untagged::Number(1); n];
    let most = n.with(texts(0)).map(|_, _| Untagged::Number(1));
    assert_eq!(
        most.aggregate(
            Vec::new(),
            |mut all, row| {
                all.resize(100_000, row);
                all
            },
            |a, b| [a, b].concat()
        )
        .unwrap()
        .len(),
        100_000
    );
}

/// Faults that a cluster reports although no row is checked: only a later row cannot be carried.
#[allow(dead_code, reason = "threads have the values themselves")]
pub fn of_later_values(cx: &Context) {
    let holds = (0..3).map(|id| Holds { id, either: (0..id).map(Untagged::Number).collect() });
    let (either, note) = ("at the field `either` of `Holds`", "`note` of `SkipsIf` is left out");
    let sparse = (0..3).map(|id| SkipsIf { id, note: (id < 2).then(String::new) });
    let large = vec![unread(u64::MAX); 100_000];
    #[rustfmt::skip]
    told(line!() + 1, vec![
        ("Holds", either, cx.parallelize(holds).map(|row| row.id).sum().map(drop)),
        ("SkipsIf", note, cx.parallelize(sparse).map(|row| row.id).sum().map(drop)),
        ("Vec<", "cannot be decoded", cx.range(0..3).with(large).map(|w, n| n + w[0].a).sum().map(drop)),
    ]);
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outer(u64, u64, Holds);

fn outer(n: u64) -> Outer {
    Outer(n, n, Holds { id: n, either: vec![Untagged::Number(n)] })
}
