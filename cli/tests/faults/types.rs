//! Types that the codec cannot carry are reported on a cluster as on threads.

use crate::attributes;
use crate::here;
use crate::rig::{Cluster, driving};
use serde::{Deserialize, Serialize, Serializer};
use tryworks::prelude::*;

#[test]
fn types_with_unsupported_attributes_are_errors_on_a_cluster() {
    if driving() {
        let cx = Context::init().unwrap();
        match std::env::var("TRYWORKS_CHECK_ROWS").as_deref() {
            Ok("1") => attributes::of_checked_rows(&cx),
            _ => attributes::of_later_values(&cx),
        }
        return attributes::of_anything(&cx);
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    for checks in ["0", "1"] {
        cluster.begin(here!(), &[("TRYWORKS_CHECK_ROWS", checks)]).ends_well();
    }
    cluster.is_clean();
}

/// A number that `Serialize` does not like if it is 5.
#[derive(Clone, Debug, Deserialize)]
struct Moody(u64);

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        assert_ne!(self.0, 5, "not this one");
        self.0.serialize(to)
    }
}

/// The panic ended a thread of the worker, and the job waited forever.
#[test]
fn a_result_whose_type_panics_while_it_is_encoded_fails_the_job() {
    if driving() {
        let cx = Context::init().unwrap();
        let error = cx.range_in(0..8, 1).map(Moody).collect().unwrap_err();
        let Error::User(fault) = &error else { panic!("{error}") };
        assert!(fault.panicked && fault.operator == "collect" && fault.message.contains("not this one"), "{error}");
        assert_eq!(cx.range(0..100).count().unwrap(), 100);
        return;
    }
    let cluster = Cluster::by_hand(1, 1, &[]);
    // Where every row is checked, it is found before.
    cluster.begin(here!(), &[("TRYWORKS_CHECK_ROWS", "0")]).ends_well();
}
