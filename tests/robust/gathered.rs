//! The items that an action gathers in a task count in the memory budget.

use crate::support::{AMPLE, Place};
use tryworks::prelude::*;

/// The most that tasks reserve at a time for an action on 1,000 items of 10,000 bytes.
fn peak(action: impl FnOnce(&Lines) -> Result<Vec<String>>, items: usize) -> u64 {
    let place = Place::new(1, AMPLE);
    assert_eq!(action(&lines(&place.cx)).unwrap().len(), items);
    place.is_clean();
    place.cx.memory().peak()
}

type Lines = Data<String>;

fn lines(cx: &Context) -> Lines {
    cx.range_in(0..1000, 1).map(|n| format!("{n:0>10000}")).boxed()
}

#[test]
fn items_that_an_action_gathers_are_counted() {
    let all = [
        ("collect", peak(|lines| lines.collect(), 1000)),
        ("take", peak(|lines| lines.take(1000), 1000)),
        ("lookup", peak(|lines| lines.map(|line| (0, line)).lookup(0), 1000)),
        ("take_sample", peak(|lines| lines.take_sample(1000, 7), 1000)),
        ("top", peak(|lines| lines.top(1000), 1000)),
        ("take_ordered_by", peak(|lines| lines.take_ordered_by(1000, |line| line.len()), 1000)),
        ("take_ordered_by with keys", peak(|lines| lines.take_ordered_by(500, |line| line.clone()), 500)),
    ];
    for (action, peak) in all {
        assert!((9_000_000..40_000_000).contains(&peak), "{action}: {peak} bytes");
    }
}

/// The actions let go of items while it gathers others.
#[test]
fn items_that_an_action_lets_go_are_not_counted_any_more() {
    let all = [
        ("take_ordered_by", peak(|lines| lines.take_ordered_by(10, |line| std::cmp::Reverse(line.clone())), 10)),
        ("top", peak(|lines| lines.top(10), 10)),
        ("max_by", peak(|lines| lines.max_by(|line| line.clone()).map(Vec::from_iter), 1)),
    ];
    for (action, peak) in all {
        assert!((10_000..4_000_000).contains(&peak), "{action}: {peak} bytes");
    }
}
