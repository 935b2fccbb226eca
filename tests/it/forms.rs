//! Uniform methods: every operator and every action has all of its forms, and `shuffle_into` applies to the next
//! shuffle.

use crate::support::{cx, plan_error, sorted};
use std::collections::BTreeMap;
use std::path::Path;
use tryworks::prelude::*;

/// The type that a method belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum On {
    Dataset,
    With,
    Background,
    BackgroundOfWith,
}

/// How the heads of their `impl` blocks end.
const HEADS: [(&str, On); 4] = [
    (" Dataset<P> {", On::Dataset),
    (" With<P, E> {", On::With),
    (" Background<'_, P> {", On::Background),
    (" Background<'_, P, E> {", On::BackgroundOfWith),
];

/// The public methods in a source file, with their text.
fn methods(source: &str) -> BTreeMap<(String, On), String> {
    let mut found = BTreeMap::new();
    for block in source.split("\nimpl<").skip(1) {
        let Some((head, body)) = block.split_once("{\n") else { continue };
        let head = format!("{}{{", head.replace('\n', " "));
        let Some((_, on)) = HEADS.iter().find(|(end, _)| head.ends_with(end) && !head.contains(&format!(" for{end}")))
        else {
            continue;
        };
        let body = &body[..body.find("\n}").unwrap()];
        for method in body.split("\n    }").filter_map(|method| method.find("    pub fn ").map(|at| (method, at))) {
            let (text, at) = method;
            let name: String = text[at + 11..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.insert((name, *on), text.to_string());
        }
    }
    found
}

/// The forms that are missing among these methods.
fn amiss(methods: &BTreeMap<(String, On), String>) -> Vec<String> {
    let mut amiss = Vec::new();
    for ((name, on), text) in methods {
        let functions = text.matches("+ NoCaptures").count();
        let head = text[..text.find("{\n").unwrap_or(0)].split("where").next().unwrap_or("");
        let is_action = head.rsplit(") -> ").next().is_some_and(|result| result.starts_with("Result<"));
        let mut forms = Vec::new();
        if *on == On::Dataset {
            forms.extend((functions > 0).then_some(On::With));
            forms.extend(is_action.then_some(On::Background));
            forms.extend((is_action && functions > 0).then_some(On::BackgroundOfWith));
        } else if functions > 0 || is_action {
            forms.push(On::Dataset);
        }
        let missing = forms.into_iter().filter(|form| !methods.contains_key(&(name.clone(), *form)));
        amiss.extend(missing.map(|form| format!("`{name}` of {on:?} has no form on {form:?}")));
        if text.matches("captures_nothing::<").count() != functions {
            amiss.push(format!("`{name}` of {on:?} does not look at what each of its functions captures"));
        }
        if (functions > 0 || text.contains("Op::here(")) && !text.contains("#[track_caller]") {
            amiss.push(format!("`{name}` of {on:?} does not know the line that calls it"));
        }
    }
    amiss
}

#[test]
fn every_operator_and_every_action_has_all_of_its_forms() {
    let mut all = BTreeMap::new();
    for folder in ["ops", "actions", "join"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/src").join(folder);
        for file in std::fs::read_dir(folder).into_iter().flatten() {
            all.extend(methods(&std::fs::read_to_string(file.unwrap().path()).unwrap()));
        }
    }
    let of = |on| all.keys().filter(|(_, other)| *other == on).count();
    // At least as many as at the time of writing: this shows that the search has found them.
    assert!(of(On::Dataset) >= 40 && of(On::With) >= 19, "{:?}", all.keys());
    assert!(of(On::Background) >= 14 && of(On::BackgroundOfWith) >= 6, "{:?}", all.keys());
    assert_eq!(amiss(&all), [""; 0]);
}

#[test]
fn a_form_that_is_forgotten_is_found() {
    let source = "
impl<P: Pipe> Dataset<P> {
    #[track_caller]
    pub fn twice<F: Fn(P::Item) -> u64 + NoCaptures>(&self, function: F) -> Dataset<impl Pipe> {
        const { captures_nothing::<F>(GIVE_IT) }
        self.doubled(Op::here(\"twice\"), function)
    }

    pub fn drain(&self) -> Result<()> {
        self.background().drained(Op::here(\"drain\"))?.wait()
    }
}

impl<P: Pipe> Background<'_, P> {
    #[track_caller]
    pub fn halve<F: Fn(P::Item) + NoCaptures>(&self, function: F) -> Result<Job<()>> {
        self.halved(Op::here(\"halve\"), function)
    }
}
";
    let expected = [
        "`drain` of Dataset has no form on Background",
        "`drain` of Dataset does not know the line that calls it",
        "`halve` of Background has no form on Dataset",
        "`halve` of Background does not look at what each of its functions captures",
        "`twice` of Dataset has no form on With",
    ];
    assert_eq!(amiss(&methods(source)), expected);
}

#[test]
fn every_form_of_an_action_gives_the_same() -> Result<()> {
    let cx = cx();
    let n = cx.range_in(1..10, 4);
    let (b, w) = (n.background(), n.with(3u64));
    let wb = w.background();
    assert_eq!((n.count()?, b.count()?.wait()?), (9, 9));
    assert_eq!(n.collect()?, b.collect()?.wait()?);
    assert_eq!((n.sum()?, b.sum()?.wait()?), (45, 45));
    assert_eq!((n.min()?, b.min()?.wait()?), (Some(1), Some(1)));
    assert_eq!((n.max()?, b.max()?.wait()?), (Some(9), Some(9)));
    assert_eq!((n.first()?, b.first()?.wait()?), (Some(1), Some(1)));
    for items in [0, 1, 5, 9, 20] {
        assert_eq!(n.take(items)?, b.take(items)?.wait()?);
        assert_eq!(n.take(items)?, (1..10).take(items).collect::<Vec<_>>());
    }
    assert_eq!((n.reduce(|a, b| a + b)?, b.reduce(|a, b| a + b)?.wait()?), (Some(45), Some(45)));
    let add = |three: &u64, a: u64, b: u64| a + b + three;
    assert_eq!((w.reduce(add)?, wb.reduce(add)?.wait()?), (Some(45 + 8 * 3), Some(45 + 8 * 3)));
    assert_eq!((n.fold(0, |a, b| a + b)?, b.fold(0, |a, b| a + b)?.wait()?), (45, 45));
    let largest = |three: &u64, a: u64, b: u64| a.max(b).max(*three);
    assert_eq!((w.fold(0, largest)?, wb.fold(0, largest)?.wait()?), (9, 9));
    let (one, both) = (|a: u64, n: u64| a + n, |a: u64, b: u64| a + b);
    assert_eq!((n.aggregate(0, one, both)?, b.aggregate(0, one, both)?.wait()?), (45, 45));
    let (one, both) = (|three: &u64, a: u64, n: u64| a + n * three, |three: &u64, a: u64, b: u64| a + b + three);
    // Four partitions are merged into the first value.
    assert_eq!((w.aggregate(0, one, both)?, wb.aggregate(0, one, both)?.wait()?), (45 * 3 + 12, 45 * 3 + 12));
    let rest = |n: &u64| (*n % 3, *n);
    assert_eq!(n.take_ordered_by(2, rest)?, b.take_ordered_by(2, rest)?.wait()?);
    let rest = |three: &u64, n: &u64| (n % three, *n);
    assert_eq!((w.take_ordered_by(2, rest)?, wb.take_ordered_by(2, rest)?.wait()?), (vec![3, 6], vec![3, 6]));
    assert_eq!((n.top(2)?, b.top(2)?.wait()?), (vec![9, 8], vec![9, 8]));
    assert_eq!((n.take_ordered(2)?, b.take_ordered(2)?.wait()?), (vec![1, 2], vec![1, 2]));
    let (rest, given) = (|n: &u64| *n % 4, |three: &u64, n: &u64| n % (three + 1));
    assert_eq!([n.min_by(rest)?, b.min_by(rest)?.wait()?, w.min_by(given)?, wb.min_by(given)?.wait()?], [Some(4); 4]);
    assert_eq!([n.max_by(rest)?, b.max_by(rest)?.wait()?, w.max_by(given)?, wb.max_by(given)?.wait()?], [Some(3); 4]);
    assert_eq!((n.is_empty()?, b.is_empty()?.wait()?), (false, false));
    assert_eq!((n.stats()?, n.mean()?), (b.stats()?.wait()?, b.mean()?.wait()?));
    assert_eq!((n.variance()?, n.stdev()?), (b.variance()?.wait()?, b.stdev()?.wait()?));
    assert_eq!(n.histogram(4)?, b.histogram(4)?.wait()?);
    assert_eq!(n.histogram_in(vec![0.0, 5.0])?, b.histogram_in(vec![0.0, 5.0])?.wait()?);
    assert_eq!((n.count_approx_distinct(0.1)?, b.count_approx_distinct(0.1)?.wait()?), (9, 9));
    assert_eq!(n.take_sample(3, 7)?, b.take_sample(3, 7)?.wait()?);
    assert_eq!(n.count_by_value()?, b.count_by_value()?.wait()?);
    let pairs = n.map(|n| (n % 2, n));
    let (pb, pw) = (pairs.background(), pairs.with(3u64));
    assert_eq!(
        (pairs.count_by_key()?, pairs.collect_as_map()?),
        (pb.count_by_key()?.wait()?, pb.collect_as_map()?.wait()?)
    );
    assert_eq!((pairs.lookup(1)?, pb.lookup(1)?.wait()?), (vec![1, 3, 5, 7, 9], vec![1, 3, 5, 7, 9]));
    let (most, sums) = (|k: &u64, a: u64, b: u64| a.max(b).max(*k), |a: u64, b: u64| a.max(b).max(3));
    let maps = [
        pairs.reduce_by_key_locally(sums)?,
        pb.reduce_by_key_locally(sums)?.wait()?,
        pw.reduce_by_key_locally(most)?,
        pw.background().reduce_by_key_locally(most)?.wait()?,
    ];
    assert!(maps.iter().all(|map| map.iter().eq([(&0, &8), (&1, &9)])), "{maps:?}");
    n.for_each_partition(|items| assert!(items.count() <= 3))?;
    b.for_each_partition(|items| assert!(items.count() <= 3))?.wait()?;
    w.for_each_partition(|three, items| assert!(items.count() as u64 <= *three))?;
    wb.for_each_partition(|three, items| assert!(items.count() as u64 <= *three))?.wait()?;
    let failed = [
        n.try_for_each_partition(|_| Err("nine")?),
        b.try_for_each_partition(|_| Err("nine")?)?.wait(),
        w.try_for_each_partition(|_, _| Err("nine")?),
        wb.try_for_each_partition(|_, _| Err("nine")?)?.wait(),
    ];
    for failed in failed {
        assert!(failed.unwrap_err().to_string().contains("nine"));
    }
    let fails = |n: u64| if n < 9 { Ok(()) } else { Err(UserError::msg("nine")) };
    n.for_each(|n| assert!(n < 10))?;
    b.for_each(|n| assert!(n < 10))?.wait()?;
    w.for_each(|three, n| assert!(n < 4 * three))?;
    wb.for_each(|three, n| assert!(n < 4 * three))?.wait()?;
    let given = |three: &u64, n: u64| if n < 3 * three { Ok(()) } else { Err(UserError::msg("nine")) };
    let failed =
        [n.try_for_each(fails), b.try_for_each(fails)?.wait(), w.try_for_each(given), wb.try_for_each(given)?.wait()];
    for failed in failed {
        assert!(failed.unwrap_err().to_string().contains("nine"));
    }
    Ok(())
}

#[test]
fn a_value_that_is_made_where_it_is_needed_reaches_the_driver_too() -> Result<()> {
    let cx = cx();
    let n = cx.range_in(0..10, 3).with_init("7".to_string(), |text| text.parse::<u64>());
    assert_eq!(n.reduce(|seven, a, b| (a + b) % seven)?, Some(3));
    assert_eq!(n.background().fold(0, |seven, a, b| (a + b) % seven)?.wait()?, 3);
    assert_eq!(n.aggregate(0, |seven, a, n| (a + n) % seven, |seven, a, b| (a + b) % seven)?, 3);
    Ok(())
}

#[test]
fn taking_in_the_background_goes_on_until_there_are_enough_or_it_is_cancelled() -> Result<()> {
    let cx = cx();
    // One partition of ten has an item.
    let few = cx.range_in(0..100, 100).filter(|n| n % 10 == 9);
    let job = few.background().take(3)?;
    assert_eq!(job.wait()?, [9, 19, 29]);
    assert_eq!(few.background().first()?.wait()?, Some(9));
    assert_eq!(few.filter(|n| *n > 100).background().first()?.wait()?, None);
    let job = few.background().take(3)?;
    job.cancel();
    assert_eq!(job.wait().unwrap_err(), Error::Cancelled);
    Ok(())
}

#[test]
fn shuffle_into_sets_the_partitions_of_the_next_shuffle() -> Result<()> {
    let cx = cx();
    let pairs = cx.range_in(0..100, 4).map(|n| (n % 7, n));
    assert_eq!(pairs.shuffle_into(3).partitions(), 4, "it says something of the next operator");
    let grouped = pairs.shuffle_into(3).group_by_key();
    assert_eq!((grouped.partitions(), grouped.count()?), (3, 7));
    assert_eq!(grouped.map_values(|values| values.len()).reduce_by_key(|a, b| a + b).partitions(), 3);
    assert_eq!(pairs.shuffle_into(3).shuffle_into(5).reduce_by_key(|a, b| a + b).partitions(), 5);
    let boxed = pairs.shuffle_into(6).boxed();
    assert_eq!(boxed.clone().with(1u64).reduce_by_key(|one, a, b| a + b + one).partitions(), 6);
    let joined = pairs.shuffle_into(2).join(&pairs);
    let plain = pairs.join(&pairs);
    assert_eq!((joined.partitions(), plain.partitions()), (2, 4));
    assert_eq!(sorted(joined.collect()?), sorted(plain.collect()?));
    assert_eq!(pairs.shuffle_into(9).sort_by(|pair| pair.1).collect()?, pairs.collect()?);
    Ok(())
}

#[test]
fn a_number_of_partitions_for_what_does_not_shuffle_is_a_mistake_that_names_the_call() {
    let cx = cx();
    let n = cx.range_in(0..100, 4);
    let told = n.shuffle_into(3);
    let pairs = n.map(|n| (n % 7, n));
    let fault = |name: &str, line: u32, result: Result<u64>| {
        let (message, site) = plan_error(result);
        let expected =
            format!("{name}: `shuffle_into(3)` does not apply to it; call it right before the operator that shuffles");
        assert_eq!((message, site.file, site.line), (expected, file!(), line));
    };
    fault("map", line!(), told.map(|n| n).count());
    fault("filter", line!(), told.with(1u64).filter(|one, n| n > one).count());
    fault("map_partitions", line!(), told.map_partitions(|items| items).map(|n| n).count());
    fault("map_values", line!(), pairs.shuffle_into(3).map_values(|n| n).reduce_by_key(|a, b| a + b).count());
    fault("cache", line!(), told.cache().count());
    fault("sample", line!(), told.sample(0.5, 1).count());
    fault("coalesce", line!(), told.coalesce(2).count());
    fault("repartition", line!(), told.repartition(2).count());
    fault("nondeterministic", line!(), told.nondeterministic().count());
    fault("union", line!(), told.union(&n).count());
    fault("union", line!(), cx.union(vec![n.boxed(), told.boxed()]).count());
    fault("zip", line!(), told.zip(&n).count());
    fault("count", line!(), told.count());
    fault("collect", line!(), told.background().collect().and_then(Job::wait).map(|items| items.len() as u64));
    fault("take", line!(), told.take(3).map(|items| items.len() as u64));
    fault("reduce", line!(), told.with(1u64).reduce(|_, a, b| a + b).map(|sum| sum.unwrap()));
    fault("explain", line!(), told.explain().map(|_| 0));
    fault("explain_dot", line!(), told.explain_dot().map(|_| 0));
    let right = "was called on its right side; call it on the left one, before an operator that shuffles";
    for (name, result) in [
        ("join", pairs.join(&pairs.shuffle_into(3)).count()),
        ("union", n.union(&told).count()),
        ("zip", n.zip(&told).count()),
    ] {
        assert_eq!(plan_error(result).0, format!("{name}: `shuffle_into(3)` {right}"));
    }
}
