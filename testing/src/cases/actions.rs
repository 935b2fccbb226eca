//! Actions.

use super::{Case, ROWS, dealt, few, late, many, those};
use crate::numbers::fraction;
use tryworks::prelude::*;

pub(super) fn cases<S: Sources + 'static>() -> Vec<Case<S>> {
    vec![
        Case::new("collect", |cx: &S| few(cx).collect(), |got| assert_eq!(got, those(|_| true))),
        Case::new("count", |cx: &S| few(cx).count(), |got| assert_eq!(got, 1_000)),
        Case::new("sum", |cx: &S| few(cx).sum(), |got: u64| assert_eq!(got, 499_500)),
        Case::new("min", |cx: &S| few(cx).map(|n| n ^ 5).min(), |got: Option<u64>| assert_eq!(got, Some(0))),
        Case::new("max", |cx: &S| few(cx).map(|n| n ^ 5).max(), |got: Option<u64>| assert_eq!(got, Some(999 ^ 5 | 7))),
        Case::new("take", |cx: &S| few(cx).take(400), |got| assert_eq!(got, (0..400).collect::<Vec<u64>>())),
        Case::new(
            "first",
            |cx: &S| few(cx).filter(|n| *n > 700).first(),
            |got: Option<u64>| assert_eq!(got, Some(701)),
        ),
        Case::new("fold", |cx: &S| few(cx).fold(0, |a, b| a + b), |got: u64| assert_eq!(got, 499_500)),
        Case::new(
            "aggregate",
            |cx: &S| few(cx).aggregate((0, 0), |(s, c), n| (s + n, c + 1), |a, b| (a.0 + b.0, a.1 + b.1)),
            |got: (u64, u64)| assert_eq!(got, (499_500, 1_000)),
        ),
        Case::large(
            "reduce",
            |cx: &S| {
                let dealt = many(cx, ROWS).map(fraction).repartition(7).map(late);
                Ok((dealt.reduce(|a, b| a + b)?.unwrap_or(f64::NAN).to_bits(), dealt.sum()?.to_bits()))
            },
            |(reduced, sum): (u64, u64)| {
                let parts = dealt(ROWS, 7).into_iter().map(|part| part.into_iter().map(fraction));
                let expected = parts.filter_map(|part| part.reduce(|a, b| a + b)).reduce(|a, b| a + b).unwrap_or(0.0);
                assert_eq!(reduced, expected.to_bits());
                assert!((f64::from_bits(sum) - expected).abs() < 1e-9 * expected);
            },
        ),
        Case::new(
            "for_each",
            |cx: &S| {
                let error = few(cx).with(500u64).for_each(|end, n| assert!(n < *end, "{n} is too large")).unwrap_err();
                few(cx).for_each(|n| assert!(n < 1_000))?;
                Ok(error.to_string().contains("`for_each` panicked") && error.to_string().contains("is too large"))
            },
            |told: bool| assert!(told),
        ),
        Case::new(
            "try_for_each",
            |cx: &S| few(cx).try_for_each(|n| if n < 1_000 { Ok(()) } else { Err("too large")? }),
            |()| (),
        ),
        Case::new(
            "for_each_partition and try_for_each_partition",
            |cx: &S| {
                let numbers = few(cx);
                numbers.for_each_partition(|items| assert!((333..335).contains(&items.count())))?;
                numbers
                    .with(500u64)
                    .try_for_each_partition(|most, mut items| match items.find(|n| n > most) {
                        Some(n) if n > 600 => Ok(()),
                        Some(n) => Err(format!("{n} is the first beyond"))?,
                        None => Ok(()),
                    })
                    // The rest of the text says on which engine that was.
                    .map_or_else(|error| Ok(error.to_string().contains("501 is the first beyond")), |()| Ok(false))
            },
            |refused: bool| assert!(refused),
        ),
        Case::new(
            "save_as_text_file",
            |cx: &S| {
                let dir = tempfile::tempdir()?;
                few(cx).map(|n| format!("line {n}")).save_as_text_file(dir.path().join("out"))?;
                cx.text_file(dir.path().join("out")).collect()
            },
            |got: Vec<String>| assert_eq!(got, (0..1_000).map(|n| format!("line {n}")).collect::<Vec<_>>()),
        ),
        Case::new(
            "save",
            |cx: &S| {
                let dir = tempfile::tempdir()?;
                let (pairs, saved) = (few(cx).map(|n| Record((n ^ 1).to_be_bytes())), dir.path().join("out"));
                pairs.save(records(&saved))?;
                cx.records::<8>(saved).map(|pair| u64::from_be_bytes(pair.0)).collect()
            },
            |got: Vec<u64>| assert_eq!(got, (0..1_000).map(|n| n ^ 1).collect::<Vec<_>>()),
        ),
        Case::new(
            "to_driver",
            |cx: &S| {
                let dir = tempfile::tempdir()?;
                few(cx).to_driver().save(text(dir.path().join("out")))?;
                let mut lines = 0;
                for part in 0..3 {
                    lines += std::fs::read_to_string(dir.path().join(format!("out/part-0000{part}")))?.lines().count()
                        as u64;
                }
                Ok(lines)
            },
            |got: u64| assert_eq!(got, 1_000),
        ),
        Case::new(
            "background",
            |cx: &S| {
                let (data, pairs) = (few(cx), few(cx).key_by(|n| n % 3).reduce_by_key(|a, b| a + b));
                let (sum, count) = (data.background().sum()?, pairs.background().count()?);
                Ok((sum.wait()?, count.wait()?))
            },
            |got: (u64, u64)| assert_eq!(got, (499_500, 3)),
        ),
    ]
}
