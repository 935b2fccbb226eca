//! Spans of `tracing`: a job contains its stages, a stage its tasks, and all of them are closed when the job has ended.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tryworks::prelude::*;

/// The name, the parent and the open handles of every span.
static SPANS: Mutex<BTreeMap<u64, (&str, Option<u64>, i64)>> = Mutex::new(BTreeMap::new());

/// Records spans.
struct Notes(AtomicU64);

impl Subscriber for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.0.fetch_add(1, Relaxed);
        let parent = span.parent().map(Id::into_u64);
        SPANS.lock().unwrap().insert(id, (span.metadata().name(), parent, 1));
        Id::from_u64(id)
    }

    fn clone_span(&self, id: &Id) -> Id {
        SPANS.lock().unwrap().get_mut(&id.into_u64()).unwrap().2 += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut spans = SPANS.lock().unwrap();
        let handles = &mut spans.get_mut(&id.into_u64()).unwrap().2;
        *handles -= 1;
        *handles == 0
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_job_holds_its_stages_and_a_stage_its_tasks() {
    tracing::subscriber::set_global_default(Notes(AtomicU64::new(1))).unwrap();
    let cx = Context::local(2).unwrap();
    let sums = cx.range_in(0..100, 4).map(|n| (n % 3, n)).reduce_by_key(|a, b| a + b);
    assert_eq!(sums.count().unwrap(), 3);
    drop(sums);
    cx.stop();

    let spans = SPANS.lock().unwrap();
    let named = |name| spans.iter().filter(move |(_, span)| span.0 == name);
    let parent = |span: &(&str, Option<u64>, i64)| span.1.map(|id| spans[&id].0);
    assert_eq!(named("job").count(), 1);
    assert_eq!(named("stage").count(), 2);
    assert!(named("task").count() >= 5, "four map tasks, and one at least that reads: {spans:?}");
    assert!(named("job").all(|(_, span)| parent(span).is_none()));
    assert!(named("stage").all(|(_, span)| parent(span) == Some("job")));
    assert!(named("task").all(|(_, span)| parent(span) == Some("stage")));
    assert!(spans.values().all(|span| span.2 == 0), "a span is still open: {spans:?}");
}
